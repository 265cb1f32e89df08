//! Reactions (tapbacks), which arrive as texts: `Liked “Reply STOP to opt out”`. The quotation is one of our texts.

use super::fold::{fold, tokens};

/// Folded text before the quotation. Sources: Messages on iOS 10–18 and Google Messages, in three languages.
const REACTIONS: &[&str] = &[
    "liked",
    "loved",
    "disliked",
    "laughed at",
    "emphasized",
    "emphasised",
    "questioned",
    "to",
    "reacted to",
    "reacted with to",
    "removed a like from",
    "removed a heart from",
    "removed a dislike from",
    "removed a laugh from",
    "removed an exclamation from",
    "removed a question mark from",
    "removed from",
    "le gusto",
    "no le gusto",
    "le encanto",
    "me gusto",
    "me encanto",
    "no me gusto",
    "se rio de",
    "se rio con",
    "enfatizo",
    "destaco",
    "resalto",
    "cuestiono",
    "pregunto sobre",
    "a",
    "reacciono a",
    "reacciono con a",
    "gostou de",
    "nao gostou de",
    "gostou",
    "nao gostou",
    "amou",
    "adorou",
    "curtiu",
    "nao curtiu",
    "descurtiu",
    "riu de",
    "riu",
    "achou graca de",
    "achou graca em",
    "deu risada de",
    "enfatizou",
    "destacou",
    "questionou",
    "em",
    "para",
    "reagiu a",
    "reagiu com a",
];

/// Returns whether a text is a reaction to another message.
#[must_use]
pub fn is_reaction(body: &str) -> bool {
    let body = body.trim();
    let Some(quotation) = body.find(['“', '"', '«', '„']) else { return false };
    // A reaction is short, and ends with the quotation, which may be cut off.
    let (before, quotation) = body.split_at(quotation);
    if before.len() > 60 || goes_on(quotation) {
        return false;
    }
    let folded = fold(before);
    let words: Vec<&str> = tokens(&folded)
        .iter()
        .filter(|token| token.text.starts_with(char::is_alphanumeric))
        .map(|token| token.text)
        .collect();
    let words = words.join(" ");
    // `👍 to “…”` needs the emoji: `to "…"` alone is an ordinary text.
    let bare = ["to", "a", "em", "para"].contains(&words.as_str());
    REACTIONS.contains(&words.as_str()) && (!bare || !before.is_ascii())
}

/// Returns whether text follows the closing quotation mark.
fn goes_on(quotation: &str) -> bool {
    let mut marks = quotation.char_indices();
    let opening = marks.next().map(|(_, mark)| mark);
    let closing = if opening == Some('"') { ['"', '"'] } else { ['”', '»'] };
    let end = marks.rfind(|(_, c)| closing.contains(c));
    end.is_some_and(|(at, _)| quotation.get(at..).is_some_and(|rest| rest.contains(char::is_alphanumeric)))
}
