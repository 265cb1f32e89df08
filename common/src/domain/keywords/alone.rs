//! The exact layer: messages that consist of an opt-out, opt-in or help keyword.

use std::borrow::Cow;

use super::fold::{Kind, Token, fold, squeeze, tokens};

/// Twilio's opt-out keywords (<https://help.twilio.com/articles/223134027>).
pub(super) const TWILIO_STOP_WORDS: &[&str] =
    &["stop", "stopall", "unsubscribe", "cancel", "end", "quit", "optout", "revoke"];

/// The Spanish and Portuguese counterparts.
pub(super) const OTHER_STOP_WORDS: &[&str] =
    &["baja", "alto", "parar", "salir", "cancelar", "detener", "pare", "remover", "sair"];

const START_WORDS: &[&str] = &["start", "yes", "unstop"];
const HELP_WORDS: &[&str] = &["help", "info"];

/// Words that may surround a keyword: courtesies, greetings, and punctuation spelled out by dictation.
const COURTESIES: &[&str] = &[
    "a",
    "abencoe",
    "abraco",
    "abracos",
    "abs",
    "adios",
    "advance",
    "afternoon",
    "agradecida",
    "agradecido",
    "agradeco",
    "agradezco",
    "ai",
    "am",
    "amable",
    "amablemente",
    "amables",
    "amiga",
    "amigo",
    "and",
    "appreciate",
    "appreciated",
    "atencao",
    "atenciosamente",
    "atentamente",
    "beijos",
    "bem",
    "bendiciones",
    "bendiga",
    "best",
    "bien",
    "bjs",
    "bless",
    "blessings",
    "boa",
    "bom",
    "bonito",
    "brigado",
    "buen",
    "buenas",
    "buenos",
    "bye",
    "care",
    "certo",
    "cheers",
    "cordial",
    "cordialmente",
    "day",
    "de",
    "dear",
    "desculpa",
    "desculpe",
    "desde",
    "deus",
    "dia",
    "dias",
    "dios",
    "disculpa",
    "disculpe",
    "e",
    "evening",
    "everyone",
    "exclamacion",
    "exclamation",
    "favor",
    "final",
    "fineza",
    "folks",
    "friend",
    "gente",
    "gentil",
    "gentileza",
    "god",
    "good",
    "gracias",
    "grata",
    "grato",
    "great",
    "greetings",
    "guys",
    "have",
    "hello",
    "hey",
    "hi",
    "hola",
    "i",
    "im",
    "in",
    "ja",
    "joven",
    "jovenes",
    "kindly",
    "le",
    "les",
    "lindo",
    "lo",
    "los",
    "maam",
    "madam",
    "many",
    "mark",
    "mija",
    "mijo",
    "mil",
    "moca",
    "moco",
    "morning",
    "much",
    "muchas",
    "muito",
    "muy",
    "nice",
    "noches",
    "noite",
    "obg",
    "obrigada",
    "obrigado",
    "oi",
    "ok",
    "okay",
    "ola",
    "one",
    "otima",
    "otimo",
    "pase",
    "pasen",
    "pela",
    "perdon",
    "period",
    "pessoal",
    "pf",
    "pfv",
    "pfvr",
    "pleas",
    "please",
    "plis",
    "pliz",
    "pls",
    "plse",
    "plz",
    "point",
    "ponto",
    "por",
    "porfa",
    "porfavor",
    "porfis",
    "punto",
    "querida",
    "querido",
    "regards",
    "respectfully",
    "saludo",
    "saludos",
    "se",
    "semana",
    "senor",
    "senora",
    "senorita",
    "signo",
    "sincerely",
    "sir",
    "so",
    "sorry",
    "ta",
    "take",
    "tarde",
    "tardes",
    "tchau",
    "team",
    "tenga",
    "tengan",
    "tenham",
    "thank",
    "thanks",
    "thnx",
    "thx",
    "tks",
    "tudo",
    "ty",
    "valeu",
    "very",
    "vlw",
    "welcome",
    "xfa",
    "xfavor",
    "y",
    "ya",
    "yall",
    "you",
    "youre",
];

/// Words of our footers, which senders copy: "Reply STOP to unsubscribe".
const FOOTER: &[&str] = &[
    "reply",
    "text",
    "send",
    "respond",
    "type",
    "txt",
    "to",
    "with",
    "word",
    "responda",
    "responder",
    "respondo",
    "envie",
    "envia",
    "enviar",
    "mande",
    "escriba",
    "escribe",
    "texto",
    "para",
    "con",
    "com",
    "digite",
    "la",
    "palabra",
    "a",
    "palavra",
    "or",
    "o",
    "ou",
];

/// Words of a signature that are not names.
const ADDRESS: &[&str] = &[
    "apt",
    "apto",
    "apartment",
    "apartamento",
    "apartamiento",
    "ap",
    "unit",
    "unidad",
    "unidade",
    "room",
    "suite",
    "ste",
    "bldg",
    "building",
    "edificio",
    "predio",
    "bloco",
    "torre",
    "tower",
    "piso",
    "floor",
    "andar",
    "depto",
    "dpto",
    "departamento",
    "casa",
    "house",
    "no",
    "num",
    "numero",
    "number",
    "de",
    "da",
    "do",
    "del",
    "la",
    "in",
    "of",
    "from",
    "en",
    "el",
    "the",
    "at",
    "family",
    "familia",
    "mr",
    "mrs",
    "ms",
    "dr",
    "sr",
    "sra",
    "dona",
    "don",
    "dna",
    "here",
];

/// Starts of lines that phones and mail programs add.
const ADDED_BY_DEVICES: &[&str] =
    &["sent from", "enviado desde", "enviado do", "enviado de", "get outlook", "sent via"];

/// Words that look like a misspelled keyword but are not.
const NOT_MISSPELLED: &[&str] = &[
    "shop",
    "step",
    "slop",
    "strop",
    "stow",
    "stoop",
    "atop",
    "top",
    "stops",
    "cancer",
    "cancels",
    "pasar",
    "pagar",
    "parir",
    "parra",
    "sabir",
    "evoke",
    "removed",
    "remove",
    "removes",
    "removed",
    "canceled",
    "cancela",
    "cancele",
    "cancelo",
    "cancelan",
    "cancelas",
    "detenga",
    "detenes",
    "reserve",
    "para",
    "parei",
    "parou",
    "parado",
    "parada",
    "barrar",
    "param",
    "parara",
    "unsubscribed",
    "parer",
    "salid",
    "valer",
    "saltar",
    "lair",
    "sais",
];

/// A message that consists of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    Stop(&'static str),
    /// An opt-out keyword with laughing emoji.
    Joke,
    Start(&'static str),
    Help,
}

/// Recognizes a message that consists of a keyword.
pub(super) fn find(body: &str, tokens: &[Token<'_>]) -> Option<Alone> {
    let is_text = |token: &&Token<'_>| matches!(token.kind, Kind::Word | Kind::Number);
    let mut words = tokens.iter().filter(is_text).map(|token| token.text);
    if let (Some(word), None) = (words.next(), words.next()) {
        if let Some(word) = among(START_WORDS, word) {
            return Some(Alone::Start(word));
        }
        if HELP_WORDS.contains(&word) {
            return Some(Alone::Help);
        }
    }
    if !may_begin(tokens) {
        return None;
    }
    let word = stop_word(tokens).or_else(|| signed_stop_word(body))?;
    let laughs = tokens.iter().any(|token| token.kind == Kind::Laugh);
    Some(if laughs { Alone::Joke } else { Alone::Stop(word) })
}

fn is_courtesy(word: &str) -> bool {
    COURTESIES.binary_search(&word).is_ok()
}

fn among(list: &'static [&'static str], word: &str) -> Option<&'static str> {
    list.iter().copied().find(|&known| known == word)
}

/// Returns whether the first word after courtesies may begin a keyword. Most texts end here.
fn may_begin(tokens: &[Token<'_>]) -> bool {
    let mut words = tokens.iter().filter(|token| token.kind == Kind::Word).map(|token| token.text);
    words
        .find(|word| word.len() == 1 || !is_courtesy(word))
        .is_some_and(|word| word.len() < 4 || FOOTER.contains(&word) || known(word, true).is_some())
}

/// Finds a keyword before a signature.
fn signed_stop_word(body: &str) -> Option<&'static str> {
    let body = body.trim();
    let breaks = body
        .char_indices()
        .filter(|(_, c)| matches!(c, '\n' | '-' | '–' | '—' | ',' | '.' | '(' | '~' | '/' | '|'));
    for (at, _) in breaks.take(6) {
        let (above, below) = body.split_at(at);
        if above.len() > 60 {
            return None;
        }
        if is_signature(below) {
            let folded = fold(above);
            return stop_word(&tokens(&folded));
        }
    }
    None
}

/// Returns whether a text is a signature: a name, a unit or the line that a device adds, with at most eight words.
fn is_signature(text: &str) -> bool {
    let shouted = !text.contains(char::is_lowercase);
    let on_own_line = text.starts_with(['\n', '-', '–', '—', '~', '(']);
    let mut lines = text.lines().filter(|line| line.contains(char::is_alphanumeric));
    let is_line = |line: &str| {
        let folded = fold(line);
        let folded = folded.trim_start_matches(|c: char| !c.is_alphanumeric());
        if ADDED_BY_DEVICES.iter().any(|beginning| folded.starts_with(beginning)) {
            return true;
        }
        let words = line
            .split(|c: char| !(c.is_alphanumeric() || matches!(c, '\'' | '’')))
            .filter(|word| !word.is_empty());
        let mut count = 0;
        let all = words.into_iter().all(|word| {
            count += 1;
            let folded = fold(word);
            let unit = folded.len() < 6 && folded.contains(|c: char| c.is_ascii_digit());
            let known = ADDRESS.contains(&folded.as_str()) || is_courtesy(&folded);
            let name = word.starts_with(char::is_uppercase)
                && (!shouted || on_own_line)
                && !super::features::is_known(&folded);
            unit || known || name || folded.bytes().all(|byte| byte.is_ascii_digit())
        });
        all && (1..=8).contains(&count)
    };
    let some = text.contains(char::is_alphanumeric);
    some && lines.all(is_line)
}

/// Returns the keyword in the tokens, ignoring courtesies.
fn stop_word(tokens: &[Token<'_>]) -> Option<&'static str> {
    let words = without_spaces(tokens);
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    if words.is_empty() || words.len() > 14 {
        return None;
    }
    let start = words.iter().position(|word| !is_courtesy(word))?;
    // "que" may follow a keyword ("que tenga buen dia") but not begin it: "que pare" means something else.
    let ends = |word: &&str| is_courtesy(word) || *word == "que";
    let end = words.iter().rposition(|word| !ends(word))? + 1;
    let kept = words.get(start..end)?;
    let joined = kept.concat();
    if let Some(word) = known(&joined, kept.len() == 1) {
        return Some(word);
    }
    // "stop all", although "all" is also a courtesy ("thank you all"), and repeated or listed keywords.
    let mut first = None;
    let mut rest = kept;
    while let Some((word, after)) = rest.split_first() {
        let pair = after.first().map(|next| [*word, *next].concat());
        if let Some(found) = pair.as_deref().and_then(|pair| known(pair, false)) {
            first = first.or(Some(found));
            rest = after.get(1..)?;
            continue;
        }
        match known(word, false) {
            Some(found) => first = first.or(Some(found)),
            None if FOOTER.contains(word) || is_courtesy(word) => {}
            None => return None,
        }
        rest = after;
    }
    first
}

/// Returns the words of a text. Three or more single letters in a row, as in "S T O P", are one word.
fn without_spaces<'a>(tokens: &[Token<'a>]) -> Vec<Cow<'a, str>> {
    let words = tokens.iter().filter(|token| matches!(token.kind, Kind::Word | Kind::Number));
    let words: Vec<&'a str> = words.map(|token| token.text).collect();
    let runs = words.chunk_by(|a, b| a.len() == 1 && b.len() == 1);
    let joined = runs.flat_map(|run| match run {
        [_, _, _, ..] => vec![Cow::Owned(run.concat())],
        _ => run.iter().map(|word| Cow::Borrowed(*word)).collect(),
    });
    joined.collect()
}

/// Returns the keyword of a word: exact, with repeated letters, or, if it is the only word, misspelled.
fn known(word: &str, may_be_misspelled: bool) -> Option<&'static str> {
    let exact = |word: &str| among(TWILIO_STOP_WORDS, word).or_else(|| among(OTHER_STOP_WORDS, word));
    let squeezed = squeeze(word);
    if let Some(found) = exact(word).or_else(|| exact(&squeezed)) {
        return Some(found);
    }
    // Repeated without spaces: "stopstopstop".
    let all = TWILIO_STOP_WORDS.iter().chain(OTHER_STOP_WORDS);
    let is_repeated = |known: &&&str| {
        word.len() > known.len() && word.as_bytes().chunks(known.len()).all(|chunk| chunk == known.as_bytes())
    };
    if let Some(found) = all.clone().find(is_repeated) {
        return Some(found);
    }
    if !may_be_misspelled || !squeezed.is_ascii() || NOT_MISSPELLED.contains(&squeezed.as_ref()) {
        return None;
    }
    all.copied().find(|known| {
        let allowed = match known.len() {
            0..=3 => 0,
            4 if *known != "stop" => 0,
            4..=7 => 1,
            _ => 2,
        };
        allowed > 0 && differs_by(squeezed.as_bytes(), known.as_bytes(), allowed)
    })
}

/// Returns whether two words differ by at most this many typing errors: an added, missing or replaced letter, or two
/// swapped letters.
fn differs_by(word: &[u8], known: &[u8], allowed: usize) -> bool {
    if word.len().abs_diff(known.len()) > allowed {
        return false;
    }
    let (Some((a, word_rest)), Some((b, known_rest))) = (word.split_first(), known.split_first()) else {
        return true;
    };
    if a == b && differs_by(word_rest, known_rest, allowed) {
        return true;
    }
    let Some(left) = allowed.checked_sub(1) else { return false };
    let swapped = match (word_rest.split_first(), known_rest.split_first()) {
        (Some((c, word_rest)), Some((d, known_rest))) => {
            a == d && b == c && differs_by(word_rest, known_rest, left)
        }
        _ => false,
    };
    swapped
        || differs_by(word_rest, known_rest, left)
        || differs_by(word_rest, known, left)
        || differs_by(word, known_rest, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courtesies_are_sorted_for_the_binary_search() {
        assert!(COURTESIES.is_sorted());
    }
}
