//! Decides the language of a conversation.
//!
//! Evidence is strong, fair or weak, by its confidence. A conversation keeps the most recent of its strongest evidence:
//! a clear English sentence replaces a clear Spanish one, and a doubtful "no" after it changes nothing. An unknown
//! language is no evidence.
//!
//! A tenant's language, known from another number or from their profile, applies if a number has no evidence of its own
//! or only weaker evidence. The number's own evidence of the same strength wins, whichever came first.
//!
//! All evidence therefore has one order ([`Evidence`]), and a conversation keeps the greatest. The order of arrival and
//! duplicates do not matter. Postgres compares the same four columns
//! (`migrations/functions/sms_conversation_activity.sql`), because the row is locked only there; a test compares both
//! implementations.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::{Detection, Language};

/// The lowest confidence with which a language is pushed to the tenant profile: fair evidence.
pub const PUSH_CONFIDENCE: f32 = 0.7;
/// The lowest confidence of strong evidence: nine in ten such results are right.
const STRONG_FROM: f32 = 0.9;

/// The strength of evidence. Postgres stores these numbers, and 0 for no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Below [`PUSH_CONFIDENCE`].
    Weak = 1,
    /// At least [`PUSH_CONFIDENCE`].
    Fair = 2,
    /// At least 0.9.
    Strong = 3,
}

impl Strength {
    /// Returns the strength for a confidence.
    #[must_use]
    pub fn of(confidence: f32) -> Self {
        match confidence {
            confidence if confidence >= STRONG_FROM => Self::Strong,
            confidence if confidence >= PUSH_CONFIDENCE => Self::Fair,
            _ => Self::Weak,
        }
    }
}

impl Detection {
    /// Returns the strength as stored in Postgres, 0 for an unknown language.
    #[must_use]
    pub fn strength(&self) -> i16 {
        if self.language == Language::Unknown { 0 } else { Strength::of(self.confidence) as i16 }
    }
}

/// The source of evidence. A number's own evidence counts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Another number of the same tenant, or their profile.
    Carried,
    /// A message of this conversation.
    Own,
}

/// Evidence for a conversation's language. The greater one is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The language, never unknown.
    language: Language,
    /// The confidence, 0 to 1.
    confidence: f32,
    /// Where it comes from.
    source: Source,
    /// The time of the message.
    at: Timestamp,
    /// The message SID: decides between two of the same time.
    id: String,
}

impl Evidence {
    /// Creates evidence from a detection; `None` for an unknown language.
    #[must_use]
    pub fn new(detected: Detection, source: Source, at: Timestamp, id: &str) -> Option<Self> {
        let Detection { language, confidence } = detected;
        (language != Language::Unknown).then(|| Self { language, confidence, source, at, id: id.to_owned() })
    }

    /// Returns the language.
    #[must_use]
    pub const fn language(&self) -> Language {
        self.language
    }

    /// Returns the confidence, 0 to 1.
    #[must_use]
    pub const fn confidence(&self) -> f32 {
        self.confidence
    }

    fn weight(&self) -> (Strength, Source, Timestamp, &str) {
        (Strength::of(self.confidence), self.source, self.at, &self.id)
    }

    /// Compares the weight of two pieces of evidence.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        self.weight().cmp(&other.weight())
    }
}

/// Returns the greater of the current and the new evidence.
#[must_use]
pub fn decide(held: Option<Evidence>, new: Option<Evidence>) -> Option<Evidence> {
    match (held, new) {
        (Some(held), Some(new)) if new.compare(&held) == Ordering::Greater => Some(new),
        (held, new) => held.or(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Language::{En, Es, Pt, Unknown};
    use Source::{Carried, Own};
    use proptest::prelude::*;

    /// Evidence of the given minute.
    fn evidence(language: Language, confidence: f32, source: Source, minute: i64) -> Option<Evidence> {
        let at = Timestamp::from_second(minute * 60).unwrap();
        Evidence::new(Detection { language, confidence }, source, at, "SM")
    }

    #[test]
    fn a_conversation_keeps_the_most_recent_among_the_strongest_evidence() {
        let table = [
            // Current, new, and whether the new one is kept. The first evidence always is.
            (None, (Es, 0.95, Own, 1), true),
            (None, (Es, 0.41, Own, 1), true),
            // The most recent among equally strong evidence.
            (Some((Es, 0.95, Own, 1)), (En, 0.97, Own, 2), true),
            (Some((Es, 0.97, Own, 1)), (En, 0.91, Own, 2), true),
            (Some((Es, 0.8, Own, 1)), (Pt, 0.75, Own, 2), true),
            (Some((Es, 0.6, Own, 1)), (Pt, 0.5, Own, 2), true),
            (Some((Es, 0.95, Own, 1)), (Es, 0.91, Own, 2), true),
            // An older message that arrives later changes nothing.
            (Some((Es, 0.95, Own, 2)), (En, 0.97, Own, 1), false),
            // Weaker evidence changes nothing, stronger evidence does, whatever its time.
            (Some((Es, 0.95, Own, 1)), (En, 0.89, Own, 2), false),
            (Some((Es, 0.75, Own, 1)), (En, 0.6, Own, 2), false),
            (Some((Es, 0.75, Own, 2)), (En, 0.9, Own, 1), true),
            // A tenant's language applies if there is only weaker evidence.
            (None, (Es, 0.7, Carried, 1), true),
            (Some((En, 0.6, Own, 2)), (Es, 0.95, Carried, 1), true),
            (Some((En, 0.95, Own, 1)), (Es, 0.95, Carried, 2), false),
            (Some((Es, 0.95, Carried, 1)), (En, 0.8, Own, 2), false),
            // The number's own evidence of the same strength wins.
            (Some((Es, 0.95, Carried, 2)), (En, 0.92, Own, 1), true),
            (Some((Es, 0.95, Carried, 1)), (Es, 0.91, Own, 2), true),
            // It follows the tenant's messages from other numbers.
            (Some((Es, 0.95, Carried, 1)), (En, 0.92, Carried, 2), true),
        ];
        for (held, met, is_kept) in table {
            let of = |(language, confidence, source, minute)| evidence(language, confidence, source, minute);
            let (before, new) = (held.and_then(of), of(met));
            let kept = decide(before.clone(), new.clone());
            assert_eq!(kept, if is_kept { new } else { before }, "{held:?} {met:?}");
        }
    }

    #[test]
    fn an_unknown_language_is_not_evidence() {
        assert_eq!(evidence(Unknown, 0.98, Own, 1), None);
        assert_eq!(Detection { language: Unknown, confidence: 0.98 }.strength(), 0);
        let held = evidence(Es, 0.5, Own, 1);
        assert_eq!(decide(held.clone(), None), held);
    }

    #[test]
    fn the_push_confidence_is_fair_evidence() {
        assert_eq!(Strength::of(PUSH_CONFIDENCE), Strength::Fair);
        assert_eq!(Strength::of(0.69), Strength::Weak);
        assert_eq!(Strength::of(0.9), Strength::Strong);
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(
            met in prop::collection::vec((0..3_usize, 0..100_u8, any::<bool>(), 0..5_i64), 1..12),
            turn in 0..12_usize,
        ) {
            let of = |(position, &(language, confidence, is_own, minute)): (usize, &(usize, u8, bool, i64))| {
                let source = if is_own { Own } else { Carried };
                let mut evidence = evidence([En, Es, Pt][language], f32::from(confidence) / 100.0, source, minute)?;
                evidence.id = position.to_string();
                Some(evidence)
            };
            let mut met: Vec<_> = met.iter().enumerate().map(of).collect();
            let kept = met.iter().cloned().fold(None, decide);
            let turn = turn % met.len();
            met.rotate_left(turn);
            let met_twice = met.iter().chain(&met).cloned();
            prop_assert_eq!(met_twice.fold(None, decide), kept);
        }
    }
}
