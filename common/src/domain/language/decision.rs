//! What a detected language changes in a conversation (SPEC §3).
//!
//! Evidence has three strengths, by its confidence: strong, fair and weak. A conversation keeps the most recent
//! among the strongest: new evidence replaces what is held unless that is of a greater strength. So a clear English
//! sentence replaces a clear Spanish one, and a doubtful "no" after it changes nothing. An unknown language is no
//! evidence at all.
//!
//! A tenant's language, known from another of their numbers, fills in where a number has none of its own or only
//! weaker evidence, and gives way to the number's own evidence of the same strength.

use serde::Serialize;

use super::{Detection, Language};

/// A change that is at least this sure is pushed to the tenant profile (SPEC §3).
pub const PUSH_CONFIDENCE: f32 = 0.7;
/// Nine such answers in ten are right: strong evidence.
const STRONG_FROM: f32 = 0.9;

/// Where a conversation's language comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A message of this conversation.
    Own,
    /// Another number of the same tenant.
    Carried,
}

/// The language that a conversation holds: one of the three, never unknown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Held {
    language: Language,
    confidence: f32,
    source: Source,
}

impl Held {
    /// Makes what a conversation holds; `None` for an unknown language.
    #[must_use]
    pub fn new(language: Language, confidence: f32, source: Source) -> Option<Self> {
        (language != Language::Unknown).then_some(Self { language, confidence, source })
    }

    /// Returns the language.
    #[must_use]
    pub const fn language(&self) -> Language {
        self.language
    }

    /// Returns the confidence of the evidence, 0 to 1.
    #[must_use]
    pub const fn confidence(&self) -> f32 {
        self.confidence
    }

    /// Returns where it comes from.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    fn strength(&self) -> Strength {
        match self.confidence {
            confidence if confidence >= STRONG_FROM => Strength::Strong,
            confidence if confidence >= PUSH_CONFIDENCE => Strength::Fair,
            _ => Strength::Weak,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Weak,
    Fair,
    Strong,
}

/// The outcome of [`decide`]: everything its log line needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Decision {
    /// What the conversation held before.
    pub previous: Option<Held>,
    /// What the message said.
    pub detected: Detection,
    /// What the conversation holds now.
    pub chosen: Option<Held>,
    /// The language is another one than before; the first one counts.
    pub changed: bool,
    /// The tenant profile is to be told: a change that is, or has just become, at least [`PUSH_CONFIDENCE`] sure,
    /// found in this conversation, to a language that the tenant isn't known for already.
    pub push: bool,
}

/// Decides what a conversation holds after a message.
///
/// `carried` is the language of the tenant's other numbers; its source is of no account.
#[must_use]
pub fn decide(current: Option<Held>, detected: Detection, carried: Option<Held>) -> Decision {
    let carried = carried.map(|held| Held { source: Source::Carried, ..held });
    let before = stronger(current, carried);
    let own = Held::new(detected.language, detected.confidence, Source::Own);
    let chosen = match (before, own) {
        (Some(before), Some(own)) => Some(newer(before, own)),
        (before, own) => own.or(before),
    };

    let language = chosen.map(|held| held.language);
    let changed = language.is_some() && language != current.map(|held| held.language);
    let was_sure = !changed && current.is_some_and(|held| held.confidence >= PUSH_CONFIDENCE);
    let push = chosen.is_some_and(|held| {
        held.source == Source::Own
            && held.confidence >= PUSH_CONFIDENCE
            && carried.is_none_or(|carried| carried.language != held.language)
    });
    Decision { previous: current, detected, chosen, changed, push: push && !was_sure }
}

/// Chooses between what a number holds and what its tenant is known for: the number's own, unless that is weaker.
fn stronger(current: Option<Held>, carried: Option<Held>) -> Option<Held> {
    match (current, carried) {
        (Some(current), Some(carried)) if carried.strength() > current.strength() => Some(carried),
        (current, carried) => current.or(carried),
    }
}

/// Chooses between held and new evidence: the new, unless that is weaker. Evidence for the same language never
/// lowers the confidence.
fn newer(before: Held, own: Held) -> Held {
    if own.strength() < before.strength() {
        return before;
    }
    if own.language == before.language && before.source == Source::Own {
        return Held { confidence: own.confidence.max(before.confidence), ..own };
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use Language::{En, Es, Pt, Unknown};
    use Source::{Carried, Own};

    fn held(language: Language, confidence: f32, source: Source) -> Option<Held> {
        Held::new(language, confidence, source)
    }

    fn said(language: Language, confidence: f32) -> Detection {
        Detection { language, confidence }
    }

    /// Held before, said now, known from the tenant's other numbers → held after, changed, pushed.
    type Transition = (Option<Held>, Detection, Option<Held>, Option<Held>, bool, bool);

    fn transitions() -> Vec<Transition> {
        let es = held(Es, 0.95, Own);
        vec![
            // The first evidence is taken, however weak; it is pushed once it is sure.
            (None, said(Es, 0.95), None, held(Es, 0.95, Own), true, true),
            (None, said(Es, 0.7), None, held(Es, 0.7, Own), true, true),
            (None, said(Es, 0.69), None, held(Es, 0.69, Own), true, false),
            (held(Es, 0.5, Own), said(Es, 0.8), None, held(Es, 0.8, Own), false, true),
            // Nothing is read into "ok", a name or a number.
            (None, said(Unknown, 0.98), None, None, false, false),
            (es, said(Unknown, 0.98), None, es, false, false),
            // The most recent among equally strong evidence.
            (es, said(En, 0.97), None, held(En, 0.97, Own), true, true),
            (es, said(En, 0.91), None, held(En, 0.91, Own), true, true),
            (held(Es, 0.8, Own), said(Pt, 0.75), None, held(Pt, 0.75, Own), true, true),
            (held(Es, 0.6, Own), said(Pt, 0.5), None, held(Pt, 0.5, Own), true, false),
            // Weaker evidence changes nothing, stronger does.
            (es, said(En, 0.89), None, es, false, false),
            (held(Es, 0.75, Own), said(En, 0.6), None, held(Es, 0.75, Own), false, false),
            (held(Es, 0.75, Own), said(En, 0.9), None, held(En, 0.9, Own), true, true),
            // More of the same language never lowers the confidence, and tells the profile nothing new.
            (es, said(Es, 0.91), None, es, false, false),
            (es, said(Es, 0.6), None, es, false, false),
            (held(Es, 0.92, Own), said(Es, 0.99), None, held(Es, 0.99, Own), false, false),
            // A tenant's language fills in where there is none, or only weaker evidence; it isn't pushed back.
            (None, said(Unknown, 0.98), es, held(Es, 0.95, Carried), true, false),
            (held(En, 0.6, Own), said(Unknown, 0.98), es, held(Es, 0.95, Carried), true, false),
            (held(En, 0.95, Own), said(Unknown, 0.98), es, held(En, 0.95, Own), false, false),
            (None, said(En, 0.8), es, held(Es, 0.95, Carried), true, false),
            // It gives way to the number's own evidence of the same strength, in either language.
            (None, said(En, 0.92), es, held(En, 0.92, Own), true, true),
            (held(Es, 0.95, Carried), said(En, 0.92), es, held(En, 0.92, Own), true, true),
            (held(Es, 0.95, Carried), said(Es, 0.91), es, held(Es, 0.91, Own), false, false),
            (None, said(Es, 0.93), es, held(Es, 0.93, Own), true, false),
        ]
    }

    #[test]
    fn a_conversation_keeps_the_most_recent_among_the_strongest_evidence() {
        for (current, detected, carried, chosen, changed, push) in transitions() {
            let expected = Decision { previous: current, detected, chosen, changed, push };
            assert_eq!(decide(current, detected, carried), expected);
        }
    }

    #[test]
    fn an_unknown_language_is_never_held() {
        assert_eq!(Held::new(Unknown, 0.98, Own), None);
    }

    #[test]
    fn the_same_message_twice_decides_the_same_and_pushes_once() {
        for (current, detected, carried, ..) in transitions() {
            let first = decide(current, detected, carried);
            let again = decide(first.chosen, detected, carried);
            assert_eq!(again.chosen, first.chosen);
            assert!(!again.changed && !again.push, "{first:?} {again:?}");
        }
    }
}
