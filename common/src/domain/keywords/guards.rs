//! Transparent rules for texts *about* opting out: what they find is in doubt at most, whatever the model says.

use super::fold::{Kind, Token, squeeze};
use super::model::kind_of;

/// What negates.
const NEGATIONS: &[&str] =
    &["dont", "not", "never", "didnt", "no", "nao", "n", "nunca", "ñ", "dnt", "nadie", "ninguem", "nobody", "havent", "hasnt", "tampoco", "jamas"];
/// What opts out, unless it is negated.
const OPTS_OUT: &[&str] = &[
    "unsubscribe", "unsubscribed", "unsub", "optout", "opt", "opted", "remove", "removed", "stop", "stopped", "quit", "cancel", "baja",
    "borren", "borrenme", "borre", "borreme", "quiten", "quitenme", "quite", "quiteme", "saquen", "saquenme", "saqueme",
    "dejen", "deje", "dejes", "paren", "pares", "pare", "parem", "deixem", "deixe", "sair", "salir", "salirme", "remover", "removam", "tirem", "cancelar",
    "cancelen", "cancelem", "descadastrem", "descadastrar", "desuscriban", "desuscribirme", "excluam", "off", "end", "cease", "delete", "drop", "turn", "erase", "shut", "cut", "parar", "dejar",
    "desactiven", "desativem", "suspendan", "suspendam", "apaguem", "eliminen", "retirem", "retiren",
];
/// What may stand between the two: "don't you ever take me off".
const BETWEEN: &[&str] = &[
    "ever", "want", "wanna", "to", "you", "u", "me", "please", "pls", "need", "say", "said", "mean", "meant", "be", "trying", "take", "taken",
    "asked", "ask", "tell", "told", "for", "quiero", "quise", "quieren", "de", "del", "darme", "den", "dije", "dijo", "pedi", "pido", "que", "se", "te", "les", "le", "los", "estoy",
    "pidiendo", "quero", "disse", "pra", "para", "falei", "estou", "pedindo", "wish", "wanted", "asking", "actually", "get", "getting", "em", "the", "at", "all", "vayan", "vaya", "a", "puse", "escribi", "mande", "escrevi", "mandei", "necesito", "hace", "falta", "precisa", "preciso", "texted", "sent", "replied", "wrote", "anyone", "my",
];
const REACH: usize = 7;

/// What nobody said, if it is negated: "I never said stop".
const CLAIMS: &[&str] = &["said", "say", "dije", "disse", "falei", "true", "verdad", "verdade", "cierto"];
/// What did not come, if it is negated: "no me llegan los mensajes".
const ARRIVES: &[&str] = &[
    "getting", "receiving", "received", "recibo", "recibimos", "recibi", "recibido", "recibiendo", "llegan", "llega", "llegaron", "llegado", "llego",
    "mandaron", "mandado", "mandan", "escriben", "escribe", "contestan", "recebo", "recebi", "recebendo", "recebemos", "chegam", "chega", "chegaram", "chegou", "mandaram",
    "mandam", "respondem", "escreve", "escrevem",
];
/// What may stand before it: "ya no me han".
const BEFORE_ARRIVES: &[&str] =
    &["me", "nos", "been", "am", "im", "i", "he", "hemos", "han", "ha", "estoy", "estou", "mas", "mais", "se", "tenho", "tem", "have", "any", "ya"];

/// Others, who did what follows: "my son texted stop".
const DID: &[&str] = &[
    "texted", "wrote", "said", "typed", "replied", "sent", "opted", "puso", "escribio", "mando", "dijo", "escreveu", "mandou", "disse", "falou", "pressed", "hit",
];
/// Words for numbers that are out of use, beside a word for a number.
const OLD: &[&str] = &["old", "viejo", "anterior", "antigo", "velho", "previous"];

/// One word of each kind that a refusal is made of, and a few of no kind.
const REFUSING: &[&str] = &[
    "not", "stop", "quit", "cancel", "unsubscribe", "baja", "out", "remove", "take", "turn", "lawyer", "block", "enough", "leave", "stopall", "alto", "only",
];
const ALSO_REFUSING: &[&str] = &["dont", "wont", "corten", "corte", "cortem", "olviden", "olvidense", "esquecam", "esquece", "last", "ultimo", "ultima", "sean", "cut", "lose", "forget", "kill", "get", "exclua", "cero"];

/// What says that the writer did not mean it, or that another did it.
const BY_MISTAKE: &[&[&str]] = &[
    &["accident"], &["accidentally"], &["accidently"], &["by", "mistake"], &["by", "error"], &["sin", "querer"], &["por", "error"], &["por", "accidente"],
    &["por", "equivocacion"], &["sem", "querer"], &["por", "engano"], &["por", "erro"], &["autocorrect"], &["autocorrector"], &["corretor"], &["didnt", "mean"],
];

/// Other channels.
const CALLS: &[&str] = &[
    "call", "calls", "calling", "phoning", "ringing", "voicemail", "voicemails", "llamar", "llamen", "llame", "llamarme", "llamenme", "llamando", "llamadas",
    "llamada", "ligar", "ligue", "liguem", "ligando", "ligacao", "ligacoes", "telefonar", "telefonem", "email", "emails", "correo", "correos", "audio", "audios", "robocall", "robocalls", "phone", "cartas",
];
const TEXTS: &[&str] =
    &["text", "texts", "txt", "txts", "message", "messages", "msg", "sms", "mensaje", "mensajes", "texto", "textos", "mensagem", "mensagens", "escriban", "escribanme", "escribame", "escrevam", "escreva"];
const WANTS_BEFORE: &[&str] =
    &["just", "only", "prefer", "rather", "send", "want", "solo", "mejor", "prefiero", "manden", "mandenme", "mandeme", "melhor", "so", "prefiro", "mandem", "manda", "mande", "keep", "by", "por"];
const WANTS_AFTER: &[&str] = &["only", "instead", "fine", "ok", "okay", "better", "works", "work", "me", "us", "r", "is", "are", "si", "mejor", "sim", "pode"];
/// What turns such a wish round: "don't call or text me".
const REFUSES: &[&str] =
    &["dont", "no", "not", "never", "or", "nor", "ni", "nem", "ou", "sin", "sem", "nao", "n", "stop", "without", "nunca", "dejen", "parem", "quit", "avoid", "dnt", "neither"];

/// One word of each kind that has to do with messages or lists: a text without any is a shout, or about something else.
const OF_MESSAGES: &[&str] = &[
    "text", "texting", "contact", "send", "write", "receive", "unsubscribe", "list", "number", "reminder", "baja", "remove", "take", "consent", "these", "lawyer", "stopall", "spam",
];

/// Tells which of the signs a text has.
pub(super) fn signs(table: &[u8], tokens: &[Token<'_>]) -> [bool; SIGNS] {
    [
        is_negated(tokens),
        is_a_mistake(tokens),
        wants_texts(tokens),
        is_a_shout(table, tokens),
        is_reported(table, tokens),
        is_a_correction(table, tokens),
        !refuses_something(table, tokens),
        tokens.last().is_some_and(|token| token.kind == Kind::Laugh),
    ]
}

/// How many signs there are.
pub(super) const SIGNS: usize = 8;

/// Tells whether a word is of the same kind as another.
fn is_of_kind(table: &[u8], word: &str, example: &str) -> bool {
    kind_of(table, example).is_some_and(|kind| kind_of(table, &squeeze(word)) == Some(kind))
}

/// "I want texts" holds no word that refuses.
fn refuses_something(table: &[u8], tokens: &[Token<'_>]) -> bool {
    tokens.iter().any(|token| {
        token.kind == Kind::Hand
            || (token.kind == Kind::Word
                && (ALSO_REFUSING.contains(&token.text) || REFUSING.iter().any(|example| is_of_kind(table, token.text, example))))
    })
}

/// "My son texted stop", "I replied STOP but still want them".
fn is_reported(table: &[u8], tokens: &[Token<'_>]) -> bool {
    let mut runs = tokens.windows(2);
    let mut wishes = tokens.windows(3);
    runs.any(|run| matches!(run, [who, did] if DID.contains(&did.text) && is_of_kind(table, who.text, "son")))
        || wishes.any(|run| {
            matches!(run, [a, b, c]
                if (["still", "pero", "mas", "but"].contains(&a.text))
                    && (is_want(b.text) || (["i", "si", "still", "eu", "yo"].contains(&b.text) && is_want(c.text))))
        })
}

fn is_want(word: &str) -> bool {
    ["want", "need", "quiero", "quero", "necesito", "preciso", "like"].contains(&word)
}

/// "Delete my old number and use this one."
fn is_a_correction(table: &[u8], tokens: &[Token<'_>]) -> bool {
    let is_number = |token: &Token<'_>| is_of_kind(table, token.text, "number");
    tokens.windows(2).any(|run| {
        matches!(run, [a, b] if (OLD.contains(&a.text) && is_number(b)) || (OLD.contains(&b.text) && is_number(a)))
    })
}

fn is_word(token: &&Token<'_>) -> bool {
    token.kind == Kind::Word
}

fn is_negated(tokens: &[Token<'_>]) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        let scope = tokens.iter().skip(at + 1).take(REACH).take_while(is_word);
        let first = scope.map(|token| token.text).find(|word| !BETWEEN.contains(word));
        let next = tokens.iter().skip(at + 1).take(4).take_while(is_word).map(|token| token.text);
        let arrives = next.clone().find(|word| !BEFORE_ARRIVES.contains(word));
        NEGATIONS.contains(&token.text)
            && (first.is_some_and(|word| OPTS_OUT.contains(&word))
                || arrives.is_some_and(|word| ARRIVES.contains(&word))
                || next.take(2).any(|word| CLAIMS.contains(&word)))
    })
}

fn is_a_mistake(tokens: &[Token<'_>]) -> bool {
    let says = |phrase: &&[&str]| {
        let mut runs = tokens.windows(phrase.len());
        runs.any(|run| run.iter().zip(phrase.iter()).all(|(token, word)| token.text == *word))
    };
    BY_MISTAKE.iter().any(says)
}

/// "Stop calling, text me."
fn wants_texts(tokens: &[Token<'_>]) -> bool {
    let one_of = |token: Option<&Token<'_>>, list: &[&str]| token.is_some_and(|token| list.contains(&token.text));
    tokens.iter().any(|token| CALLS.contains(&token.text))
        && tokens.iter().enumerate().any(|(at, token)| {
            let before = || tokens.iter().take(at).rev().take(3).take_while(is_word);
            let wanted = one_of(tokens.get(at + 1), WANTS_AFTER)
                || before().take(2).any(|token| WANTS_BEFORE.contains(&token.text));
            TEXTS.contains(&token.text) && wanted && !before().any(|token| REFUSES.contains(&token.text))
        })
}

/// "Stop! There is gas in 3B."
fn is_a_shout(table: &[u8], tokens: &[Token<'_>]) -> bool {
    let kinds = OF_MESSAGES.iter().filter_map(|word| kind_of(table, word));
    let kinds: Vec<u8> = kinds.collect();
    let mut words = tokens.iter().filter(is_word);
    !words.any(|token| kind_of(table, token.text).is_some_and(|kind| kinds.contains(&kind)))
        && tokens.iter().filter(is_word).count() > 3
}
