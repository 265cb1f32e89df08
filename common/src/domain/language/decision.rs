//! Which language a conversation holds (SPEC §3).
//!
//! Evidence has three strengths, by its confidence: strong, fair and weak. A conversation keeps the most recent among the
//! strongest: a clear English sentence replaces a clear Spanish one, and a doubtful "no" after it changes nothing. An
//! unknown language is no evidence at all.
//!
//! A tenant's language, known from another of their numbers or from their profile, fills in where a number has no
//! evidence of its own, or only weaker; it gives way to the number's own evidence of the same strength, whichever came
//! first.
//!
//! So all evidence stands in one order ([`Evidence`]'s), and a conversation holds the greatest that it has met: the same
//! whatever the order in which messages arrive, and however often. Postgres compares the same four columns
//! (`migrations/0009_tenants.sql`), since only there a conversation's row is locked; a test holds the two together.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::{Detection, Language};

/// A change that is at least this sure is pushed to the tenant profile (SPEC §3): fair evidence.
pub const PUSH_CONFIDENCE: f32 = 0.7;
/// Nine such answers in ten are right: strong evidence.
const STRONG_FROM: f32 = 0.9;

/// How much evidence weighs. Its numbers are what Postgres keeps; there, 0 stands for no evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Better than nothing.
    Weak = 1,
    /// At least [`PUSH_CONFIDENCE`] sure.
    Fair = 2,
    /// At least 0.9 sure.
    Strong = 3,
}

impl Strength {
    /// Weighs evidence of this confidence.
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
    /// Returns the number of this detection's strength, 0 for an unknown language.
    #[must_use]
    pub fn strength(&self) -> i16 {
        if self.language == Language::Unknown { 0 } else { Strength::of(self.confidence) as i16 }
    }
}

/// Where evidence for a conversation's language comes from; the number's own counts for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Another number of the same tenant, or their profile.
    Carried,
    /// A message of this conversation.
    Own,
}

/// One reason to take a conversation for one of the three languages. The greater is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The language: never unknown.
    language: Language,
    /// How sure that is, 0 to 1.
    confidence: f32,
    /// Where it comes from.
    source: Source,
    /// When it was written.
    at: Timestamp,
    /// What says so, a message's SID: decides between two of the same instant.
    id: String,
}

impl Evidence {
    /// Makes evidence of what was detected; `None` for an unknown language.
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

    /// Returns how sure it is, 0 to 1.
    #[must_use]
    pub const fn confidence(&self) -> f32 {
        self.confidence
    }

    fn weight(&self) -> (Strength, Source, Timestamp, &str) {
        (Strength::of(self.confidence), self.source, self.at, &self.id)
    }

    /// Compares what two pieces of evidence count for.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        self.weight().cmp(&other.weight())
    }
}

/// Decides what a conversation holds once it has met new evidence: the greater of the two.
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
            // Held, met, and whether the met one is kept. The first evidence is, however weak.
            (None, (Es, 0.95, Own, 1), true),
            (None, (Es, 0.41, Own, 1), true),
            // The most recent among equally strong evidence.
            (Some((Es, 0.95, Own, 1)), (En, 0.97, Own, 2), true),
            (Some((Es, 0.97, Own, 1)), (En, 0.91, Own, 2), true),
            (Some((Es, 0.8, Own, 1)), (Pt, 0.75, Own, 2), true),
            (Some((Es, 0.6, Own, 1)), (Pt, 0.5, Own, 2), true),
            (Some((Es, 0.95, Own, 1)), (Es, 0.91, Own, 2), true),
            // What was written earlier and arrives later changes nothing.
            (Some((Es, 0.95, Own, 2)), (En, 0.97, Own, 1), false),
            // Weaker evidence changes nothing, stronger does, whenever it was written.
            (Some((Es, 0.95, Own, 1)), (En, 0.89, Own, 2), false),
            (Some((Es, 0.75, Own, 1)), (En, 0.6, Own, 2), false),
            (Some((Es, 0.75, Own, 2)), (En, 0.9, Own, 1), true),
            // A tenant's language fills in where there is only weaker evidence.
            (None, (Es, 0.7, Carried, 1), true),
            (Some((En, 0.6, Own, 2)), (Es, 0.95, Carried, 1), true),
            (Some((En, 0.95, Own, 1)), (Es, 0.95, Carried, 2), false),
            (Some((Es, 0.95, Carried, 1)), (En, 0.8, Own, 2), false),
            // It gives way to the number's own evidence of the same strength.
            (Some((Es, 0.95, Carried, 2)), (En, 0.92, Own, 1), true),
            (Some((Es, 0.95, Carried, 1)), (Es, 0.91, Own, 2), true),
            // And follows what the tenant writes elsewhere.
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
    fn an_unknown_language_is_no_evidence() {
        assert_eq!(evidence(Unknown, 0.98, Own, 1), None);
        assert_eq!(Detection { language: Unknown, confidence: 0.98 }.strength(), 0);
        let held = evidence(Es, 0.5, Own, 1);
        assert_eq!(decide(held.clone(), None), held);
    }

    #[test]
    fn what_is_sure_enough_to_be_pushed_is_fair_evidence() {
        assert_eq!(Strength::of(PUSH_CONFIDENCE), Strength::Fair);
        assert_eq!(Strength::of(0.69), Strength::Weak);
        assert_eq!(Strength::of(0.9), Strength::Strong);
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_is_of_no_account(
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
