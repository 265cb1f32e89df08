//! Signs that a text is *about* opting out, or wants texts: features that depend on more than neighboring words.

use super::features::Seen;
use super::fold::{Kind, Token};
use super::kinds::*;

/// Negations.
const NEGATIONS: &[&str] = &[
    "dont", "not", "never", "didnt", "no", "nao", "n", "nunca", "ñ", "dnt", "nadie", "ninguem", "nobody",
    "havent", "hasnt", "tampoco", "jamas",
];
/// Kinds that opt out, unless they are negated.
const OPTS_OUT: &[&str] = &[
    "unsubscribe",
    "unsubscribed",
    "unsub",
    "optout",
    "opt",
    "opted",
    "remove",
    "removed",
    "stop",
    "stopped",
    "quit",
    "cancel",
    "end",
    "cease",
    "delete",
    "drop",
    "turn",
    "erase",
    "shut",
    "cut",
    "off",
    "baja",
    "borren",
    "borrenme",
    "borre",
    "borreme",
    "quiten",
    "quitenme",
    "quite",
    "quiteme",
    "saquen",
    "saquenme",
    "saqueme",
    "dejen",
    "deje",
    "dejes",
    "dejar",
    "paren",
    "pares",
    "pare",
    "parar",
    "salir",
    "salirme",
    "cancelar",
    "cancelen",
    "desuscriban",
    "desuscribirme",
    "desactiven",
    "suspendan",
    "eliminen",
    "retiren",
    "parem",
    "deixem",
    "deixe",
    "sair",
    "remover",
    "removam",
    "tirem",
    "cancelem",
    "descadastrem",
    "descadastrar",
    "excluam",
    "desativem",
    "suspendam",
    "apaguem",
    "retirem",
];
/// Words between negation and opt-out: "don't you ever take me off".
const BETWEEN: &[&str] = &[
    "ever", "want", "wanna", "wanted", "wish", "to", "you", "u", "me", "my", "please", "pls", "need", "say",
    "said", "mean", "meant", "be", "trying", "take", "taken", "ask", "asked", "asking", "tell", "told",
    "for", "actually", "get", "getting", "the", "at", "all", "texted", "sent", "replied", "wrote", "anyone",
    "quiero", "quise", "quieren", "necesito", "de", "del", "dar", "darme", "den", "dije", "dijo", "pedi",
    "pido", "que", "se", "te", "les", "le", "los", "estoy", "pidiendo", "vayan", "vaya", "a", "puse",
    "escribi", "mande", "hace", "falta", "quero", "disse", "pra", "para", "falei", "estou", "pedindo",
    "escrevi", "mandei", "precisa", "preciso", "em",
];
/// The reach of a negation, in words.
const REACH: usize = 7;
/// Verbs of saying, which negated mean no opt-out: "I never said stop".
const CLAIMS: &[&str] = &["said", "say", "dije", "disse", "falei", "true", "verdad", "verdade", "cierto"];
/// Verbs of receiving, which negated mean missing texts: "no me llegan los mensajes".
const ARRIVES: &[&str] = &[
    "getting",
    "receiving",
    "received",
    "recibo",
    "recibimos",
    "recibi",
    "recibido",
    "recibiendo",
    "llegan",
    "llega",
    "llegaron",
    "llegado",
    "llego",
    "mandaron",
    "mandado",
    "mandan",
    "escriben",
    "escribe",
    "contestan",
    "recebo",
    "recebi",
    "recebendo",
    "recebemos",
    "chegam",
    "chega",
    "chegaram",
    "chegou",
    "mandaram",
    "mandam",
    "respondem",
    "escreve",
    "escrevem",
];
/// Words before it: "ya no me han".
const BEFORE_ARRIVES: &[&str] = &[
    "me", "nos", "been", "am", "im", "i", "he", "hemos", "han", "ha", "estoy", "estou", "mas", "mais", "se",
    "tenho", "tem", "have", "any", "ya",
];
/// Words for a mistake.
const BY_MISTAKE: &[(&str, &str)] = &[
    ("by", "accident"),
    ("by", "mistake"),
    ("by", "error"),
    ("sin", "querer"),
    ("por", "error"),
    ("por", "accidente"),
    ("por", "equivocacion"),
    ("sem", "querer"),
    ("por", "engano"),
    ("por", "erro"),
    ("didnt", "mean"),
];
const ACCIDENTS: &[&str] = &["accidentally", "accidently", "autocorrect", "autocorrector", "autocorreto"];
/// Verbs after another person: "my son texted stop".
const DID: &[&str] = &[
    "texted", "wrote", "said", "typed", "replied", "sent", "opted", "puso", "escribio", "mando", "dijo",
    "escreveu", "mandou", "disse", "falou", "pressed", "hit", "digitou",
];
/// Passive voice and its participle: "fui removido da lista".
const WAS: &[&str] = &["was", "were", "been", "fui", "foi", "fue"];
const DONE: &[&str] = &[
    "removed",
    "unsubscribed",
    "opted",
    "dropped",
    "deleted",
    "removido",
    "removida",
    "tirado",
    "excluido",
    "excluida",
    "descadastrado",
    "eliminado",
    "eliminada",
    "borrado",
    "borrada",
    "quitado",
    "sacado",
];
/// Words before an opposite wish: "but still want them".
const STILL: &[&str] = &["still", "pero", "mas", "but"];
const WISHES: &[&str] = &["want", "need", "quiero", "quero", "necesito", "preciso", "like"];
const WHO_WISHES: &[&str] = &["i", "si", "still", "eu", "yo"];
/// Texts instead of another channel: "stop calling, just text".
const WANTS_BEFORE: &[&str] = &[
    "just", "only", "prefer", "rather", "send", "want", "solo", "mejor", "prefiero", "manden", "mandenme",
    "mandeme", "melhor", "so", "prefiro", "mandem", "manda", "mande", "keep", "by", "por",
];
const WANTS_AFTER: &[&str] = &[
    "only", "instead", "fine", "ok", "okay", "better", "works", "work", "me", "us", "r", "is", "are", "si",
    "mejor", "sim", "pode",
];
/// Negations of such a wish: "don't call or text me".
const REFUSES: &[&str] = &[
    "dont", "no", "not", "never", "or", "nor", "ni", "nem", "ou", "sin", "sem", "nao", "n", "stop",
    "without", "nunca", "dejen", "parem", "quit", "avoid", "dnt", "neither",
];
/// Refusing words without a kind.
const ALSO_REFUSING: &[&str] = &[
    "corten",
    "corte",
    "cortem",
    "olviden",
    "olvidense",
    "esquecam",
    "esquece",
    "last",
    "ultimo",
    "ultima",
    "kill",
    "get",
];

/// Kinds about messages or lists. A text without any is a shout or about something else.
const OF_MESSAGES: u64 = set(&[
    TEXT,
    TEXTING,
    CONTACT,
    SEND,
    WRITE,
    RECEIVE,
    UNSUBSCRIBE,
    LIST,
    NUMBER,
    ALERT,
    BAJA,
    REMOVE,
    TAKE,
    CONSENT,
    THESE,
    LEGAL,
    SPAM,
]);
/// Kinds of refusals.
const REFUSING: u64 = set(&[
    NEGATION,
    STOP,
    QUIT,
    CANCEL,
    UNSUBSCRIBE,
    BAJA,
    OUT,
    REMOVE,
    TAKE,
    TURN,
    LEGAL,
    BLOCK,
    ENOUGH,
    LEAVE,
    KEYWORD,
    ONLY,
]);

const fn set(kinds: &[u8]) -> u64 {
    let mut set = 0;
    let mut rest = kinds;
    while let [kind, after @ ..] = rest {
        set |= 1 << *kind;
        rest = after;
    }
    set
}

/// A text with the set of its kinds.
struct Text<'a> {
    tokens: &'a [Token<'a>],
    seen: &'a [Seen],
    kinds: u64,
}

/// The number of signs.
pub(super) const SIGNS: usize = 8;

/// Returns the signs of a text. `seen` contains the tokens with their kinds.
pub(super) fn of(tokens: &[Token<'_>], seen: &[Seen]) -> [bool; SIGNS] {
    let kinds = seen.iter().filter_map(Seen::kind_number).fold(0, |kinds, kind| kinds | 1 << kind);
    let text = Text { tokens, seen, kinds };
    [
        text.is_negated(),
        text.is_a_mistake(),
        text.wants_texts(),
        text.is_a_shout(),
        text.is_reported(),
        text.is_a_correction(),
        !text.refuses_something(),
        tokens.last().is_some_and(|token| token.kind == Kind::Laugh),
    ]
}

impl<'a> Text<'a> {
    const fn has(&self, kinds: u64) -> bool {
        self.kinds & kinds != 0
    }

    /// Returns the positions of the tokens of a kind.
    fn places(&self, kind: u8) -> impl Iterator<Item = usize> {
        let seen = if self.has(1 << kind) { self.seen } else { &[] };
        seen.iter().enumerate().filter(move |(_, seen)| seen.kind_number() == Some(kind)).map(|(at, _)| at)
    }

    fn word(&self, at: usize) -> &'a str {
        self.tokens.get(at).filter(|token| token.kind == Kind::Word).map_or("", |token| token.text)
    }

    /// Returns the words from a position to the end of the clause.
    fn words_from(&self, at: usize) -> impl Iterator<Item = &'a str> + Clone {
        let tokens = self.tokens.get(at..).unwrap_or_default();
        tokens.iter().take_while(|token| token.kind == Kind::Word).map(|token| token.text)
    }

    /// Returns the words before a position, the nearest first.
    fn words_before(&self, at: usize) -> impl Iterator<Item = &'a str> {
        let tokens = self.tokens.get(..at).unwrap_or_default();
        tokens.iter().rev().take_while(|token| token.kind == Kind::Word).map(|token| token.text)
    }

    fn is_negated(&self) -> bool {
        self.places(NEGATION).filter(|&at| NEGATIONS.contains(&self.word(at))).any(|at| {
            let mut scope = self.words_from(at + 1).take(REACH);
            let mut arrival = self.words_from(at + 1).take(4);
            scope.find(|word| !BETWEEN.contains(word)).is_some_and(|word| OPTS_OUT.contains(&word))
                || arrival
                    .find(|word| !BEFORE_ARRIVES.contains(word))
                    .is_some_and(|word| ARRIVES.contains(&word))
                || self.words_from(at + 1).take(2).any(|word| CLAIMS.contains(&word))
        })
    }

    fn is_a_mistake(&self) -> bool {
        self.has(1 << ACCIDENT)
            && self.tokens.iter().enumerate().any(|(at, token)| {
                ACCIDENTS.contains(&token.text) || BY_MISTAKE.contains(&(self.word(at), self.word(at + 1)))
            })
    }

    fn wants_texts(&self) -> bool {
        let wants = |at: usize| {
            (WANTS_AFTER.contains(&self.word(at + 1))
                || self.words_before(at).take(2).any(|word| WANTS_BEFORE.contains(&word)))
                && !self.words_before(at).take(3).any(|word| REFUSES.contains(&word))
        };
        self.has(set(&[CALL, EMAIL])) && (self.places(TEXT).any(wants) || self.places(WRITE).any(wants))
    }

    /// "Stop! There is gas in 3B."
    fn is_a_shout(&self) -> bool {
        !self.has(OF_MESSAGES) && self.tokens.iter().filter(|token| token.kind == Kind::Word).count() > 3
    }

    /// "My son texted stop", "I was removed", "I replied STOP but still want them".
    fn is_reported(&self) -> bool {
        let by_others = self.places(THEY).any(|at| DID.contains(&self.word(at + 1)));
        let done = self.has(1 << REMOVE | 1 << UNSUBSCRIBE)
            && (0..self.tokens.len())
                .any(|at| DONE.contains(&self.word(at + 1)) && WAS.contains(&self.word(at)));
        let wishes = |at: usize| {
            WISHES.contains(&self.word(at))
                && self.words_before(at).take(3).any(|word| STILL.contains(&word))
                && self
                    .words_before(at)
                    .take(2)
                    .all(|word| STILL.contains(&word) || WHO_WISHES.contains(&word))
        };
        by_others || done || self.places(WANT).any(wishes)
    }

    /// "Delete my old number and use this one."
    fn is_a_correction(&self) -> bool {
        let is_number = |at: usize| self.seen.get(at).and_then(Seen::kind_number) == Some(NUMBER);
        self.places(OLD).any(|at| is_number(at + 1) || at.checked_sub(1).is_some_and(is_number))
    }

    /// "I want texts" has no word that refuses.
    fn refuses_something(&self) -> bool {
        self.has(REFUSING)
            || self.tokens.iter().any(|token| token.kind == Kind::Hand || ALSO_REFUSING.contains(&token.text))
    }
}
