//! Refusals in free text: the patterns, and how they are looked for.
//!
//! A text is cut into clauses, and each clause into words, folded by the caller. What stands in quotation marks is
//! somebody else's words (a phone answers `Liked “Reply STOP to opt out”` for a heart) and is left out. A clause is
//! a refusal if one of the [`RULES`] matches at one of its words, and:
//!
//! - what precedes the match doesn't turn it round: "don't stop texting me", "my neighbor won't stop calling me";
//! - what follows doesn't limit it to a time or a place: "don't text me after nine" is a wish for quiet hours;
//! - a bare "please stop" isn't followed, after a comma, by what is to stop: "please stop, you are at the wrong unit";
//! - no other clause asks for texts: "stop calling me, text me instead".

mod rules;
mod starters;

use rules::{RULES, Rule, Set, Step, Where};
use starters::Starters;

/// The words that a match can begin with: nearly all of what tenants write holds none of them.
static STARTERS: Starters = Starters::of(&RULES);

/// Words that turn an order round or give it to somebody else, when they stand right before it.
const TURNS_ROUND: Set = &[
    "wont", "dont", "doesnt", "didnt", "cant", "couldnt", "not", "never", "will", "ill", "they", "he", "she",
    "it", "who", "why", "when", "did", "does", "isnt", "nobody", "nao", "nadie", "ninguem", "nunca", "if",
    "him", "her", "them", "people", "someone", "somebody", "no",
];

/// Words after which a "no", "don't" or "you" quotes or repeats an order to us: "I told you don't text me".
const SAYS: Set = &["told", "said", "asked", "tell", "telling", "ask", "saying", "asking"];

/// Words that tell somebody else, anywhere before: "dígale al vecino que deje de molestar".
const TELLS_OTHERS: Set = &[
    "digale", "diganle", "dile", "digales", "diganles", "pidale", "pidanle", "avisele", "hable", "fala",
    "fale", "falem", "diga", "diz", "pede", "peca", "avisa", "vecino", "vecina", "vecinos", "vizinho",
    "vizinha", "vizinhos", "tell",
];

/// "to" is part of an order after these: "I need you to stop", "I want to opt out".
const ORDERS_TO: Set = &[
    "you",
    "u",
    "want",
    "like",
    "need",
    "wish",
    "prefer",
    "wanna",
    "trying",
    "ask",
    "asking",
    "asked",
    "please",
    "going",
    "how",
    "able",
    "already",
    "repeatedly",
    "times",
    "twice",
    "nicely",
    "before",
];

/// "you" is part of an order after these (or at the start): "can you stop", "I want you to".
const ORDERS_YOU: Set = &[
    "can", "could", "would", "will", "please", "pls", "plz", "that", "want", "need", "ask", "asked",
    "asking", "told", "do", "if",
];

/// What limits a refusal to a time or a place, within three words after it.
const LIMITS: Set = &[
    "after",
    "before",
    "until",
    "till",
    "til",
    "during",
    "while",
    "when",
    "unless",
    "late",
    "early",
    "night",
    "today",
    "tonight",
    "tomorrow",
    "yet",
    "back",
    "work",
    "weekend",
    "weekends",
    "sundays",
    "hasta",
    "despues",
    "antes",
    "cuando",
    "mientras",
    "tarde",
    "noche",
    "temprano",
    "hoy",
    "manana",
    "durante",
    "ate",
    "depois",
    "quando",
    "enquanto",
    "noite",
    "cedo",
    "hoje",
    "amanha",
    "trabajo",
    "trabalho",
    "english",
    "spanish",
    "portuguese",
    "ingles",
    "espanol",
    "portugues",
    "ahorita",
    "junta",
    "reunion",
    "reuniao",
    "domingos",
    "domingo",
    "driving",
    "manejando",
    "dirigindo",
    "email",
    "emails",
    "newsletter",
    "correo",
    "correos",
    "eviction",
    "desalojo",
    "despejo",
];
/// What limits a prohibition, but only presses an order: "don't text me right now", "stop texting me right now".
const MOMENTS: Set = &["now", "ahora", "agora", "right"];
const LIMIT_REACH: usize = 3;

/// Words after which it is said where to: "don't message me on Facebook", "no manden mensajes a mi mamá".
const WHERE_TO: Set = &["to", "on", "in", "a", "al", "pro", "pra", "para", "ao", "en"];
/// Where to, if it is us whom the writer speaks of.
const HERE: Set = &[
    "me",
    "us",
    "mim",
    "nosotros",
    "phone",
    "cell",
    "mobile",
    "number",
    "numero",
    "telefono",
    "telefone",
    "celular",
    "future",
    "now",
    "list",
    "lista",
    "texted",
    "contacted",
    "receive",
];
/// And if it isn't, whatever else is said.
const ANOTHER: Set = &["other", "old", "otro", "otra", "outro", "outra"];
const HERE_REACH: usize = 4;

/// Words that prohibit.
const PROHIBITS: Set = &["dont", "dnt", "never", "no", "nao", "n", "nunca", "num", "jamas", "jamais"];

/// What somebody other than the writer does or is, who says a bare "stop" right before it.
const SUBJECTS: Set = &[
    "you", "u", "youre", "your", "ur", "they", "theyre", "their", "he", "she", "it", "its", "the", "there",
    "theres",
];
/// Words by which such a clause is about messages after all: "stop, you have the wrong person".
const OF_MESSAGES: Set = &[
    "text",
    "texts",
    "texting",
    "txt",
    "message",
    "messages",
    "messaging",
    "msg",
    "msgs",
    "sms",
    "spam",
    "spamming",
    "contact",
    "contacting",
    "call",
    "calling",
    "calls",
    "number",
    "phone",
    "cell",
    "person",
    "list",
    "harassing",
    "harassment",
    "bothering",
    "bugging",
    "annoying",
];

/// Words before a clause's "text me" that leave it a request.
const BEFORE_ASKING: Set = &[
    "please", "pls", "plz", "just", "only", "and", "but", "so", "instead", "better", "por", "favor", "porfa",
    "mejor", "solo", "nomas", "y", "pero", "e", "mas", "melhor", "apenas",
];
/// Orders to write to the writer.
const WRITE_TO: Set = &["text", "txt", "message", "msg"];
const TO_ME: Set = &["me", "us"];
const WRITE_ME: Set = &[
    "mandeme",
    "mandenme",
    "mandame",
    "envieme",
    "enviame",
    "escribame",
    "escribanme",
    "escribeme",
    "texteeme",
    "texteame",
];
/// What makes such an order a threat, or one to write elsewhere: "text me again and I'll sue", "text me at 555 …".
const NOT_ASKING: Set = &[
    "again", "anymore", "ever", "one", "1", "once", "more", "another", "at", "on", "otra", "otro", "al",
    "en", "a",
];

/// Returns the words of the first refusal in a folded text.
pub(super) fn find(folded: &str) -> Option<String> {
    let own_words = without_quotations(folded);
    let mut clauses = own_words.split_inclusive(ends_clause).peekable();
    let mut found = None;
    while let Some(clause) = clauses.next() {
        let words: Vec<&str> = split_words(clause).collect();
        if asks_for_texts(&words) {
            return None;
        }
        if found.is_none() {
            let next = clauses.peek().filter(|_| clause.ends_with(','));
            found = find_in_clause(&words, next.copied().unwrap_or_default());
        }
    }
    found
}

/// Tells whether a clause wants texts: "text me instead", "mejor mándeme un mensaje".
fn asks_for_texts(words: &[&str]) -> bool {
    let mut words = words.iter().skip_while(|word| BEFORE_ASKING.contains(word));
    let asks = words.next().is_some_and(|word| {
        WRITE_ME.contains(word)
            || (WRITE_TO.contains(word) && words.next().is_some_and(|word| TO_ME.contains(word)))
    });
    let is_here = |word: Option<&&str>| word.is_some_and(|word| ["this", "here"].contains(word));
    asks && !words.next().is_some_and(|word| NOT_ASKING.contains(word) && !is_here(words.next()))
}

/// Tells whether the clause after a bare "stop" says what is to stop, and that isn't messages.
fn is_about_something_else(clause: &str) -> bool {
    let mut words = split_words(clause);
    words.next().is_some_and(|word| SUBJECTS.contains(&word))
        && !words.any(|word| OF_MESSAGES.contains(&word))
}

/// Splits a clause into words; "do not" becomes the "dont" that the patterns are written with.
fn split_words(clause: &str) -> impl Iterator<Item = &str> {
    let mut words = clause.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).peekable();
    std::iter::from_fn(move || {
        let word = words.next()?;
        let joined = match word {
            "do" => "dont",
            "did" => "didnt",
            "does" => "doesnt",
            "will" => "wont",
            "can" => "cant",
            _ => return Some(word),
        };
        Some(if words.next_if_eq(&"not").is_some() { joined } else { word })
    })
}

fn ends_clause(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '¿' | '¡' | ';' | ':' | ',' | '\n' | '\r' | '(' | ')' | '…')
}

/// Blanks what stands between a pair of double quotation marks, unless that is all there is.
fn without_quotations(text: &str) -> String {
    let mut quoted = false;
    let own_words: String = text
        .chars()
        .map(|c| match c {
            '“' | '«' => {
                quoted = true;
                '.'
            }
            '”' | '»' => {
                quoted = false;
                '.'
            }
            '"' => {
                quoted = !quoted;
                '.'
            }
            _ if quoted => ' ',
            other => other,
        })
        .collect();
    if own_words.contains(char::is_alphanumeric) { own_words } else { text.to_owned() }
}

fn find_in_clause(words: &[&str], next_clause: &str) -> Option<String> {
    let mut starts =
        (0..words.len()).filter(|&start| words.get(start).is_some_and(|word| STARTERS.may_have(word)));
    starts.find_map(|start| {
        let end = RULES.into_iter().flatten().find_map(|rule| rule.matches(words, start, next_clause))?;
        words.get(start..end).map(|matched| matched.join(" "))
    })
}

impl Rule {
    /// Returns where the match that begins at `start` ends.
    fn matches(&self, words: &[&str], start: usize, next_clause: &str) -> Option<usize> {
        // Nearly always it ends here: the other questions are asked of what matches.
        let end = match_steps(self.steps, words, start)?;
        let fits_here = match self.place {
            Where::Start => start == 0,
            Where::Bare => start == 0 && !is_about_something_else(next_clause),
            Where::Anywhere => true,
            Where::Order => !is_turned_round(words, start),
            Where::Prohibition => !is_said_of_others(words, start),
            Where::Wish => !is_turned_round(words, start) && !tells_others(words, start),
        };
        (fits_here && !is_limited(words, start, end) && !goes_elsewhere(words, end)).then_some(end)
    }
}

/// Tells whether the words before `at` keep it from being an order to us.
fn is_turned_round(words: &[&str], at: usize) -> bool {
    let before = |distance: usize| at.checked_sub(distance).and_then(|index| words.get(index)).copied();
    let Some(previous) = before(1) else { return false };
    match previous {
        "to" => match before(2) {
            Some(word) if !ORDERS_TO.contains(&word) => true,
            _ => before(3).is_some_and(|word| ["dont", "not", "didnt", "never"].contains(&word)),
        },
        "you" | "u" => before(2).is_some_and(|word| !ORDERS_YOU.contains(&word)),
        "i" | "we" => !before(2).is_some_and(|word| ["do", "can", "could"].contains(&word)),
        // "Stop it, stop texting me" without its comma.
        "it" => !before(2).is_some_and(|word| ["stop", "quit"].contains(&word)),
        word => TURNS_ROUND.contains(&word),
    }
}

/// Tells whether a prohibition at `at` is a statement: "you never text me back", "they don't contact me".
fn is_said_of_others(words: &[&str], at: usize) -> bool {
    let before = |distance: usize| at.checked_sub(distance).and_then(|index| words.get(index)).copied();
    match before(1) {
        Some("you" | "u" | "yall" | "guys") => !before(2).is_some_and(|word| SAYS.contains(&word)),
        Some("i" | "we") => true,
        Some(word) => TURNS_ROUND.contains(&word),
        None => false,
    }
}

fn tells_others(words: &[&str], at: usize) -> bool {
    words.iter().take(at).any(|word| TELLS_OTHERS.contains(word))
}

fn is_limited(words: &[&str], start: usize, end: usize) -> bool {
    let prohibits = words.get(start).is_some_and(|word| PROHIBITS.contains(word));
    let limits = |word: &&str| LIMITS.contains(word) || (prohibits && MOMENTS.contains(word));
    words.iter().skip(end).take(LIMIT_REACH).any(limits)
}

/// Tells whether what follows a match says that it is about another place or person.
fn goes_elsewhere(words: &[&str], end: usize) -> bool {
    let where_to = |set: Set| words.iter().skip(end + 1).take(HERE_REACH).any(|word| set.contains(word));
    words.get(end).is_some_and(|word| WHERE_TO.contains(word)) && (where_to(ANOTHER) || !where_to(HERE))
}

/// Matches steps from the word at `at`, trying the longer reading of an optional step first.
fn match_steps(steps: &[Step], words: &[&str], at: usize) -> Option<usize> {
    let Some((step, rest)) = steps.split_first() else { return Some(at) };
    let is_in = |set: Set| words.get(at).is_some_and(|word| set.contains(word));
    match *step {
        Step::Is(set) if is_in(set) => match_steps(rest, words, at + 1),
        Step::Is(_) => None,
        Step::May(set) if is_in(set) => {
            match_steps(rest, words, at + 1).or_else(|| match_steps(rest, words, at))
        }
        Step::Many(set) if is_in(set) => {
            match_steps(steps, words, at + 1).or_else(|| match_steps(rest, words, at))
        }
        Step::May(_) | Step::Many(_) => match_steps(rest, words, at),
        Step::Not(set) if is_in(set) => None,
        Step::Not(_) => match_steps(rest, words, at),
        Step::End => (at == words.len()).then_some(at).filter(|_| rest.is_empty()),
    }
}
