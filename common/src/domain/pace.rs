//! Rate limits per sender, in segments per second, and the reasons of holds.
//!
//! Twilio queues excess messages for up to ten hours. A message in that queue cannot be overtaken by an urgent message
//! or stopped by an opt-out, so this service sends to Twilio no faster than the sender's own rate.

use super::message::Priority;
use super::named::named_enum;
use super::sender::Sender;
use std::str::FromStr;
use std::time::Duration;

named_enum! {
    /// Why a sender is on hold.
    pub enum HoldReason: "a hold reason" {
        /// Twilio's queue of the sender is full.
        QueueFull = "queue_full",
        /// Twilio requested a pause.
        Limited = "limited",
        /// Twilio rejects the account, number or credentials. An operator must act.
        Configuration = "configuration",
    }
}

/// Segments per second of a registered long code or a messaging service. 10DLC allows about 4 to 225, by trust score; a
/// brand with a modest score has 10 (<https://www.twilio.com/docs/messaging/guides/throughput>, read 2026-11).
const DEFAULT_RATE: f64 = 10.0;
/// Segments per second of a toll-free number.
const TOLL_FREE_RATE: f64 = 3.0;
/// Segments per second of a short code.
const SHORT_CODE_RATE: f64 = 100.0;

/// The minimum length of a burst. Wake-ups have a resolution of one second, so a burst covers the time until the next.
const BURST_SECONDS: f64 = 3.0;
/// Bulk messages leave half of the burst to more urgent ones.
const BULK_SHARE: f64 = 0.5;
/// How long the outcome of a probe is waited for, unless a repair is needed.
const PROBE_HOLD: Duration = Duration::from_secs(30);

/// The area codes of toll-free numbers of the North American Numbering Plan.
const TOLL_FREE: [&str; 7] = ["800", "833", "844", "855", "866", "877", "888"];

/// Which senders a rate applies to.
#[derive(Debug, Clone, PartialEq)]
enum Senders {
    /// One number or messaging service.
    One(String),
    TollFree,
    ShortCodes,
    All,
}

impl Senders {
    fn include(&self, sender: &Sender) -> bool {
        let text = sender.as_str();
        match self {
            Self::One(name) => name == text,
            Self::TollFree => text.strip_prefix("+1").is_some_and(|number| {
                number.len() == 10 && TOLL_FREE.iter().any(|area_code| number.starts_with(area_code))
            }),
            // Digits without a country code.
            Self::ShortCodes => {
                (3..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
            }
            Self::All => true,
        }
    }
}

/// Rate limits per sender, in segments per second.
#[derive(Debug, Clone, PartialEq)]
pub struct SenderRates {
    /// The first entry that includes a sender applies; the last one includes all.
    rules: Vec<(Senders, f64)>,
}

impl SenderRates {
    fn new(listed: Vec<(String, f64)>, default: f64) -> Self {
        let listed = listed.into_iter().map(|(sender, rate)| (Senders::One(sender), rate));
        let kinds = [
            (Senders::TollFree, TOLL_FREE_RATE),
            (Senders::ShortCodes, SHORT_CODE_RATE),
            (Senders::All, default),
        ];
        Self { rules: listed.chain(kinds).collect() }
    }

    /// Returns the pace of a sender. `min_burst` is in segments.
    #[must_use]
    pub fn pace_of(&self, sender: &Sender, min_burst: u32) -> SenderPace {
        let rule = self.rules.iter().find(|(senders, _)| senders.include(sender));
        let rate = rule.map_or(DEFAULT_RATE, |(_, rate)| *rate);
        let burst = f64::from(min_burst).max(rate * BURST_SECONDS);
        SenderPace { rate, burst, bulk_burst: burst * BULK_SHARE }
    }
}

/// The pace of a sender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SenderPace {
    /// Segments per second.
    pub rate: f64,
    /// Segments that may be sent at once after a pause.
    pub burst: f64,
    /// The part of the burst that bulk messages may use.
    pub bulk_burst: f64,
}

impl SenderPace {
    /// Returns how many segments may be waiting at Twilio after a message of this priority.
    #[must_use]
    pub fn allowance(&self, priority: Priority) -> f64 {
        match priority {
            Priority::Urgent | Priority::Normal => self.burst,
            Priority::Bulk => self.bulk_burst,
        }
    }
}

/// Returns how long a hold lasts after its probe was sent, unless the probe's outcome ends it: at most half a minute,
/// or the whole hold if our configuration must be fixed.
#[must_use]
pub fn probe_hold(reason: HoldReason, hold: Duration) -> Duration {
    match reason {
        HoldReason::Configuration => hold,
        HoldReason::QueueFull | HoldReason::Limited => hold.min(PROBE_HOLD),
    }
}

impl Default for SenderRates {
    fn default() -> Self {
        Self::new(Vec::new(), DEFAULT_RATE)
    }
}

/// Why a list of rates is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// The rate of an entry is missing or not a positive number.
    #[error("{0:?} is not a positive number of segments a second")]
    NotARate(String),
    /// The sender of an entry is neither a phone number nor a messaging service SID.
    #[error("{0:?} is neither a number nor a messaging service")]
    NotASender(String),
}

impl FromStr for SenderRates {
    type Err = RatesError;

    /// Parses `10,+12035550100=1,MG…=100`. A rate without a sender applies to unlisted senders that are neither
    /// toll-free nor short codes.
    fn from_str(list: &str) -> Result<Self, RatesError> {
        let mut default = DEFAULT_RATE;
        let mut listed = Vec::new();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry.split_once('=') {
                None => default = rate(entry)?,
                Some((sender, text)) => listed.push((sender_name(sender.trim())?, rate(text.trim())?)),
            }
        }
        Ok(Self::new(listed, default))
    }
}

fn rate(text: &str) -> Result<f64, RatesError> {
    let rate: Option<f64> = text.parse().ok();
    rate.filter(|rate| rate.is_finite() && *rate > 0.0).ok_or_else(|| RatesError::NotARate(text.to_owned()))
}

fn sender_name(text: &str) -> Result<String, RatesError> {
    let digits = text.strip_prefix('+').or_else(|| text.strip_prefix("MG")).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(RatesError::NotASender(text.to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate_of(list: &str, sender: &str) -> f64 {
        list.parse::<SenderRates>().unwrap().pace_of(&sender.into(), 30).rate
    }

    #[test]
    fn a_listed_sender_overrides_its_kind_and_a_bare_rate_is_the_default() {
        let listed = "20, +18335550100=0.5, MG1a = 100";
        for (sender, rate) in [
            ("+18335550100", 0.5),
            ("+18335550101", 3.0),
            ("+1833555010", 20.0),
            ("+12035550100", 20.0),
            ("+448335550100", 20.0),
            ("MG1a", 100.0),
            ("MG1ab", 20.0),
            ("12345", 100.0),
            ("12", 20.0),
        ] {
            assert_eq!(rate_of(listed, sender), rate, "{sender}");
        }
        assert_eq!(rate_of("", "+12035550100"), 10.0);
    }

    #[test]
    fn a_burst_is_three_seconds_or_the_configured_minimum_and_bulk_uses_half() {
        let rates: SenderRates = "20,+12035550100=0.5".parse().unwrap();
        let burst = |sender: &str| {
            let pace = rates.pace_of(&sender.into(), 30);
            (pace.burst, pace.bulk_burst, pace.allowance(Priority::Bulk), pace.allowance(Priority::Urgent))
        };
        assert_eq!(burst("+12035550100"), (30.0, 15.0, 15.0, 30.0));
        assert_eq!(burst("12345"), (300.0, 150.0, 150.0, 300.0));
        assert_eq!(burst("+12035550101"), (60.0, 30.0, 30.0, 60.0));
    }

    #[test]
    fn a_probe_is_waited_for_half_a_minute_and_a_repair_for_the_whole_hold() {
        let hold = Duration::from_secs(300);
        assert_eq!(probe_hold(HoldReason::Limited, hold).as_secs(), 30);
        assert_eq!(probe_hold(HoldReason::QueueFull, Duration::from_secs(5)).as_secs(), 5);
        assert_eq!(probe_hold(HoldReason::Configuration, hold), hold);
    }

    #[test]
    fn invalid_rates_are_rejected_with_the_invalid_text() {
        for (list, refusal) in [
            ("x", r#""x" is not a positive number of segments a second"#),
            ("0", r#""0" is not a positive number of segments a second"#),
            ("10,+1203=-1", r#""-1" is not a positive number of segments a second"#),
            ("inf", r#""inf" is not a positive number of segments a second"#),
            ("+1.*=3", r#""+1.*" is neither a number nor a messaging service"#),
            ("=3", r#""" is neither a number nor a messaging service"#),
        ] {
            assert_eq!(list.parse::<SenderRates>().unwrap_err().to_string(), refusal);
        }
    }
}
