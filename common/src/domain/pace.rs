//! Limits per sender: segments and MMS per second, segments and MMS per day; and the reasons of holds.
//!
//! Twilio queues excess messages for up to ten hours. A message in that queue cannot be overtaken by an urgent message
//! or stopped by an opt-out, so this service sends to Twilio no faster than the sender's own rate. What exceeds a daily
//! limit is not queued but fails (error 30023), so it waits here for the next day.

use super::message::Priority;
use super::named::named_enum;
use super::quiet_hours::zone;
use super::registration::Registration;
use super::sender::Sender;
use jiff::Timestamp;
use std::num::NonZeroU32;
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

/// MMS per second of a long code of the US or Canada
/// (<https://support.twilio.com/hc/en-us/articles/360034954613-Twilio-Multimedia-Messaging-MMS-Account-Rate-Limits>,
/// stored copy, read 2026-11). The same page: Twilio does not limit the MMS of short codes.
const LONG_CODE_MMS_RATE: f64 = 1.0;
/// MMS per second of a toll-free number
/// (<https://support.twilio.com/hc/en-us/articles/4411046744987-Toll-Free-SMS-and-MMS-messaging-throughput-MPS>, stored
/// copy, read 2026-11).
const TOLL_FREE_MMS_RATE: f64 = 3.0;

/// The minimum length of a burst. Wake-ups have a resolution of one second, so a burst covers the time until the next.
const BURST_SECONDS: f64 = 3.0;
/// The minimum burst of MMS, so that the part of bulk messages is at least one.
const MIN_MMS_BURST: f64 = 2.0;
/// Bulk messages leave half of the burst to more urgent ones.
const BULK_SHARE: f64 = 0.5;
/// How long the outcome of a probe is waited for, unless a repair is needed.
const PROBE_HOLD: Duration = Duration::from_secs(30);

/// The time zone of the day of daily limits: T-Mobile's counters are reset at 00:00 Pacific Time
/// (<https://www.twilio.com/docs/api/errors/30023>, read in a copy of 2026-06).
const DAY_ZONE: &str = "America/Los_Angeles";
/// The length of a day, if the zone's rules were missing.
const DAY: Duration = Duration::from_secs(86_400);

/// The area codes of toll-free numbers of the North American Numbering Plan.
const TOLL_FREE: [&str; 7] = ["800", "833", "844", "855", "866", "877", "888"];

/// The kinds of senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    TollFree,
    ShortCode,
    /// A long code of the North American Numbering Plan.
    LongCode,
    MessagingService,
    /// A number of another country.
    Other,
}

impl Kind {
    fn of(sender: &Sender) -> Self {
        let text = sender.as_str();
        let national = text.strip_prefix("+1");
        let is_toll_free = |number: &str| {
            number.len() == 10 && TOLL_FREE.iter().any(|area_code| number.starts_with(area_code))
        };
        if national.is_some_and(is_toll_free) {
            Self::TollFree
        } else if national.is_some() {
            Self::LongCode
        } else if text.starts_with("MG") {
            Self::MessagingService
        } else if (3..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // Digits without a country code.
            Self::ShortCode
        } else {
            Self::Other
        }
    }
}

/// The limits of all senders. A limit that is not configured is that of the sender's kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SenderLimits {
    /// Segments per second.
    pub segments_per_second: PerSender<Rate>,
    /// MMS per second.
    pub mms_per_second: PerSender<Rate>,
    /// Segments and MMS per day.
    pub segments_per_day: PerSender<NonZeroU32>,
    /// How the brand of the long codes and messaging services is registered for 10DLC.
    pub registration: Option<Registration>,
}

impl SenderLimits {
    /// Returns the pace of a sender. `min_burst` is in segments.
    #[must_use]
    pub fn pace_of(&self, sender: &Sender, min_burst: u32) -> SenderPace {
        let kind = Kind::of(sender);
        let registration =
            self.registration.filter(|_| matches!(kind, Kind::LongCode | Kind::MessagingService));
        let segments = match kind {
            Kind::TollFree => TOLL_FREE_RATE,
            Kind::ShortCode => SHORT_CODE_RATE,
            _ => registration.map_or(DEFAULT_RATE, Registration::segments_per_second),
        };
        let mms = match kind {
            Kind::TollFree => Some(TOLL_FREE_MMS_RATE),
            Kind::LongCode => Some(LONG_CODE_MMS_RATE),
            // Of a service, it depends on its numbers.
            Kind::ShortCode | Kind::MessagingService | Kind::Other => None,
        };
        let mms = registration.and_then(Registration::mms_per_second).or(mms);
        let segments = self.segments_per_second.of(sender, kind).map_or(segments, Rate::per_second);
        let mms = self.mms_per_second.of(sender, kind).map(Rate::per_second).or(mms);
        let per_day = self.segments_per_day.of(sender, kind).map(NonZeroU32::get);
        SenderPace {
            segments: Pace::new(segments, f64::from(min_burst)),
            mms: mms.map(|rate| Pace::new(rate, MIN_MMS_BURST)),
            per_day: per_day.or_else(|| registration.map(Registration::segments_per_day)),
        }
    }
}

/// The pace of a sender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SenderPace {
    /// The pace of segments.
    pub segments: Pace,
    /// The pace of MMS, if they have one of their own. Otherwise, they count as their segments.
    pub mms: Option<Pace>,
    /// Segments and MMS per day, if they are limited.
    pub per_day: Option<u32>,
}

/// A rate with its bursts, in segments or MMS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// How many per second.
    pub rate: f64,
    /// How many may be sent at once after a pause.
    pub burst: f64,
    /// The part of the burst that bulk messages may use.
    pub bulk_burst: f64,
}

impl Pace {
    fn new(rate: f64, min_burst: f64) -> Self {
        let burst = min_burst.max(rate * BURST_SECONDS);
        Self { rate, burst, bulk_burst: burst * BULK_SHARE }
    }

    /// Returns how many may be waiting at Twilio after a message of this priority.
    #[must_use]
    pub fn allowance(&self, priority: Priority) -> f64 {
        match priority {
            Priority::Urgent | Priority::Normal => self.burst,
            Priority::Bulk => self.bulk_burst,
        }
    }
}

/// Returns the end of the current day of daily limits: the next midnight in Pacific Time.
#[must_use]
pub fn day_end(now: Timestamp) -> Timestamp {
    let midnight = || {
        let zone = zone(DAY_ZONE)?;
        let tomorrow = zone.to_datetime(now).date().tomorrow().ok()?;
        Some(tomorrow.to_zoned(zone).ok()?.timestamp())
    };
    midnight().unwrap_or(now + DAY)
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

/// Values by sender: `10,+12035550100=1,MG…=100`. A value without a sender applies to unlisted senders that are
/// neither toll-free nor short codes.
#[derive(Debug, Clone, PartialEq)]
pub struct PerSender<T> {
    listed: Vec<(String, T)>,
    default: Option<T>,
}

impl<T> Default for PerSender<T> {
    fn default() -> Self {
        Self { listed: Vec::new(), default: None }
    }
}

impl<T: Copy> PerSender<T> {
    fn of(&self, sender: &Sender, kind: Kind) -> Option<T> {
        let listed = self.listed.iter().find(|(name, _)| name == sender.as_str()).map(|(_, value)| *value);
        let default = self.default.filter(|_| !matches!(kind, Kind::TollFree | Kind::ShortCode));
        listed.or(default)
    }
}

impl<T: FromStr> FromStr for PerSender<T> {
    type Err = LimitError;

    fn from_str(list: &str) -> Result<Self, LimitError> {
        let parse =
            |text: &str| text.trim().parse().map_err(|_| LimitError::NotALimit(text.trim().to_owned()));
        let mut values = Self::default();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry.split_once('=') {
                None => values.default = Some(parse(entry)?),
                Some((sender, text)) => values.listed.push((sender_name(sender.trim())?, parse(text)?)),
            }
        }
        Ok(values)
    }
}

/// Why a list of limits is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The limit of an entry is missing or not a number above 0, or not a whole number where one is needed.
    #[error("{0:?} is not a limit")]
    NotALimit(String),
    /// The sender of an entry is neither a phone number nor a messaging service SID.
    #[error("{0:?} is neither a number nor a messaging service")]
    NotASender(String),
}

/// A positive number per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(f64);

impl Rate {
    fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let rate: Option<f64> = text.parse().ok();
        let rate = rate.filter(|rate| rate.is_finite() && *rate > 0.0);
        rate.map(Self).ok_or_else(|| LimitError::NotALimit(text.to_owned()))
    }
}

fn sender_name(text: &str) -> Result<String, LimitError> {
    let digits = text.strip_prefix('+').or_else(|| text.strip_prefix("MG")).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(LimitError::NotASender(text.to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(list: &str) -> SenderLimits {
        SenderLimits { segments_per_second: list.parse().unwrap(), ..SenderLimits::default() }
    }

    fn rate_of(list: &str, sender: &str) -> f64 {
        segments(list).pace_of(&sender.into(), 30).segments.rate
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
        let limits = segments("20,+12035550100=0.5");
        let burst = |sender: &str| {
            let pace = limits.pace_of(&sender.into(), 30).segments;
            (pace.burst, pace.bulk_burst, pace.allowance(Priority::Bulk), pace.allowance(Priority::Urgent))
        };
        assert_eq!(burst("+12035550100"), (30.0, 15.0, 15.0, 30.0));
        assert_eq!(burst("12345"), (300.0, 150.0, 150.0, 300.0));
        assert_eq!(burst("+12035550101"), (60.0, 30.0, 30.0, 60.0));
    }

    #[test]
    fn mms_have_the_rate_of_their_number_and_those_of_services_and_short_codes_no_own_rate() {
        let mms = |limits: &SenderLimits, sender: &str| {
            limits.pace_of(&sender.into(), 30).mms.map(|pace| (pace.rate, pace.burst, pace.bulk_burst))
        };
        let default = SenderLimits::default();
        assert_eq!(mms(&default, "+12035550100"), Some((1.0, 3.0, 1.5)));
        assert_eq!(mms(&default, "+18335550100"), Some((3.0, 9.0, 4.5)));
        for sender in ["MG1a", "12345", "+447700900100"] {
            assert_eq!(mms(&default, sender), None, "{sender}");
        }
        let limits = SenderLimits {
            mms_per_second: "0.5,MG1a=10,12345=50".parse().unwrap(),
            ..SenderLimits::default()
        };
        assert_eq!(mms(&limits, "+12035550100"), Some((0.5, 2.0, 1.0)), "a burst allows one bulk message");
        assert_eq!(mms(&limits, "MG1a").map(|pace| pace.0), Some(10.0));
        assert_eq!(mms(&limits, "12345").map(|pace| pace.0), Some(50.0));
        assert_eq!(mms(&limits, "+18335550100").map(|pace| pace.0), Some(3.0));
    }

    #[test]
    fn a_registration_sets_what_is_not_configured_of_long_codes_and_services() {
        let limits = SenderLimits {
            segments_per_second: "+12035550101=1".parse().unwrap(),
            segments_per_day: "+12035550101=500,12345=9".parse().unwrap(),
            registration: Some("60".parse().unwrap()),
            ..SenderLimits::default()
        };
        let of = |sender: &str| {
            let pace = limits.pace_of(&sender.into(), 30);
            (pace.segments.rate, pace.mms.map(|mms| mms.rate), pace.per_day)
        };
        assert_eq!(of("+12035550100"), (40.0, Some(20.0), Some(40_000)));
        assert_eq!(of("MG1a"), (40.0, Some(20.0), Some(40_000)));
        assert_eq!(of("+12035550101"), (1.0, Some(20.0), Some(500)));
        assert_eq!(of("+18335550100"), (3.0, Some(3.0), None));
        assert_eq!(of("12345"), (100.0, None, Some(9)));
        assert_eq!(of("+447700900100"), (10.0, None, None));
    }

    #[test]
    fn a_low_volume_registration_has_no_source_for_mms_and_keeps_the_rate_of_the_number() {
        let limits =
            SenderLimits { registration: Some("low_volume".parse().unwrap()), ..SenderLimits::default() };
        let mms = |sender: &str| limits.pace_of(&sender.into(), 30).mms.map(|pace| pace.rate);
        assert_eq!((mms("+12035550100"), mms("MG1a")), (Some(1.0), None));
    }

    #[test]
    fn a_day_ends_at_midnight_in_pacific_time_also_when_clocks_change() {
        for (now, end) in [
            ("2026-11-29T03:00:00Z", "2026-11-29T08:00:00Z"),
            ("2026-11-29T07:59:59.999Z", "2026-11-29T08:00:00Z"),
            ("2026-11-29T08:00:00Z", "2026-11-30T08:00:00Z"),
            ("2026-07-01T06:59:59Z", "2026-07-01T07:00:00Z"),
            // The day with 23 hours, and the one with 25.
            ("2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
            ("2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
            ("2026-11-02T07:30:00Z", "2026-11-02T08:00:00Z"),
        ] {
            assert_eq!(day_end(now.parse().unwrap()).to_string(), end, "{now}");
        }
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
            ("x", r#""x" is not a limit"#),
            ("0", r#""0" is not a limit"#),
            ("10,+1203=-1", r#""-1" is not a limit"#),
            ("10,+1203= ", r#""" is not a limit"#),
            ("inf", r#""inf" is not a limit"#),
            ("+1.*=3", r#""+1.*" is neither a number nor a messaging service"#),
            ("=3", r#""" is neither a number nor a messaging service"#),
        ] {
            assert_eq!(list.parse::<PerSender<Rate>>().unwrap_err().to_string(), refusal);
        }
        for list in ["0", "-1", "2000.5", "many", "+1203=0", "4294967296"] {
            list.parse::<PerSender<NonZeroU32>>().unwrap_err();
        }
    }
}
