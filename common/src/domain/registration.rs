//! Limits of 10DLC: what carriers of the US allow a brand, by its registration.
//!
//! The carriers change these figures. Those of a brand are in Twilio's console (Trust Hub, A2P Messaging).

use std::str::FromStr;

/// How a brand is registered for 10DLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// A sole proprietor.
    SoleProprietor,
    /// A campaign for "Low Volume Mixed".
    LowVolume,
    /// A standard brand with its trust score, from 1 to 100.
    TrustScore(u8),
}

impl Registration {
    /// Returns the segments per second towards one carrier. It is not known which recipients are customers of the same
    /// one, so all messages together are limited to what one carrier accepts.
    ///
    /// Source: "Message throughput (MPS) and Trust Scores for A2P 10DLC in the US",
    /// <https://help.twilio.com/articles/1260803225669>, read in a copy of 2025-01
    /// (<https://help.gohighlevel.com/support/solutions/articles/155000004527>). Sole proprietors: AT&T's rate, the
    /// lowest.
    #[must_use]
    pub fn segments_per_second(self) -> f64 {
        match self {
            Self::SoleProprietor => 0.25,
            Self::LowVolume => 1.25,
            Self::TrustScore(75..) => 75.0,
            Self::TrustScore(50..75) => 40.0,
            Self::TrustScore(..50) => 4.0,
        }
    }

    /// Returns the MMS per second towards one carrier, of a sole proprietor those of its number. There is no figure for
    /// low volume.
    ///
    /// Source: "Increased MMS rate limits for A2P 10DLC Phone Numbers in the U.S. starting March 18, 2026",
    /// <https://www.twilio.com/en-us/changelog/increased-mms-rate-limits-for-a2p-10dlc-phone-numbers-in-the-u-s0>, read
    /// in a copy of 2026-06.
    #[must_use]
    pub fn mms_per_second(self) -> Option<f64> {
        match self {
            Self::SoleProprietor => Some(0.5),
            Self::LowVolume => None,
            Self::TrustScore(75..) => Some(40.0),
            Self::TrustScore(50..75) => Some(20.0),
            Self::TrustScore(..50) => Some(5.0),
        }
    }

    /// Returns the segments and MMS per day towards T-Mobile, of all campaigns of the brand.
    ///
    /// Source: "T-Mobile daily message limits for long code messaging with A2P 10DLC",
    /// <https://support.twilio.com/hc/en-us/articles/1260804800549>, and for those without a score
    /// <https://www.twilio.com/docs/messaging/compliance/a2p-10dlc/direct-standard-onboarding>, both read in copies of
    /// 2026-11. The copy of the former lacks its table; the same figures are at
    /// <https://support.aloware.com/en/articles/6958138-common-dialer-errors>.
    #[must_use]
    pub fn segments_per_day(self) -> u32 {
        match self {
            Self::SoleProprietor => 1_000,
            Self::LowVolume => 2_000,
            Self::TrustScore(75..) => 200_000,
            Self::TrustScore(50..75) => 40_000,
            Self::TrustScore(25..50) => 10_000,
            Self::TrustScore(..25) => 2_000,
        }
    }
}

/// The registration of a brand is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a trust score from 1 to 100, low_volume or sole_proprietor")]
pub struct RegistrationError;

impl FromStr for Registration {
    type Err = RegistrationError;

    /// Parses a trust score, `low_volume` or `sole_proprietor`.
    fn from_str(text: &str) -> Result<Self, RegistrationError> {
        match text {
            "sole_proprietor" => Ok(Self::SoleProprietor),
            "low_volume" => Ok(Self::LowVolume),
            score => match score.parse() {
                Ok(score @ 1..=100) => Ok(Self::TrustScore(score)),
                _ => Err(RegistrationError),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_each_registration_are_those_of_the_sources() {
        for (text, limits) in [
            ("sole_proprietor", (0.25, Some(0.5), 1_000)),
            ("low_volume", (1.25, None, 2_000)),
            ("1", (4.0, Some(5.0), 2_000)),
            ("24", (4.0, Some(5.0), 2_000)),
            ("25", (4.0, Some(5.0), 10_000)),
            ("49", (4.0, Some(5.0), 10_000)),
            ("50", (40.0, Some(20.0), 40_000)),
            ("74", (40.0, Some(20.0), 40_000)),
            ("75", (75.0, Some(40.0), 200_000)),
            ("100", (75.0, Some(40.0), 200_000)),
        ] {
            let registration: Registration = text.parse().unwrap();
            let found = (
                registration.segments_per_second(),
                registration.mms_per_second(),
                registration.segments_per_day(),
            );
            assert_eq!(found, limits, "{text}");
        }
    }

    #[test]
    fn a_score_that_does_not_exist_is_invalid() {
        for text in ["0", "101", "-1", "4.5", "high", "Low_Volume", ""] {
            assert_eq!(text.parse::<Registration>(), Err(RegistrationError), "{text}");
        }
    }
}
