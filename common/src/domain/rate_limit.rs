//! Limits of requested messages: of one API key per minute, and to one recipient in 24 hours.
//!
//! The window of a key slides with two counts: the messages of this minute, and of those of the last minute the part
//! that is still within the last 60 seconds, as if they had been requested evenly. All figures are integers, so that
//! the condition is the same in SQL (`common/src/db/rate_limits.rs`).

use super::message::{Priority, Purpose};
use jiff::Timestamp;
use std::fmt;
use std::time::Duration;

/// The window of a key's limit.
const KEY_WINDOW: Duration = Duration::from_secs(60);
/// The window of a recipient's limit.
pub const RECIPIENT_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// A minute in milliseconds.
const MINUTE_MS: i64 = 60_000;

/// A limit, in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of one API key per minute.
    Key(u32),
    /// To one recipient in 24 hours.
    Recipient(u32),
}

impl Limit {
    /// Returns its name in headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Recipient(_) => "recipient",
        }
    }

    /// Returns the number of messages.
    #[must_use]
    pub const fn messages(self) -> u32 {
        match self {
            Self::Key(messages) | Self::Recipient(messages) => messages,
        }
    }

    /// Returns its window.
    #[must_use]
    pub const fn window(self) -> Duration {
        match self {
            Self::Key(_) => KEY_WINDOW,
            Self::Recipient(_) => RECIPIENT_WINDOW,
        }
    }
}

/// What is left of a limit, for the headers of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The limit.
    pub limit: Limit,
    /// How many more messages are allowed now.
    pub remaining: u64,
    /// In how many seconds, rounded up, a refused request can be repeated, if nothing else is requested; or the whole
    /// limit is available again after an accepted one.
    pub reset_seconds: u64,
}

impl Quota {
    /// Returns the value of the header `RateLimit-Policy`, such as `"key";q=600;w=60`.
    #[must_use]
    pub fn policy(&self) -> String {
        let limit = self.limit;
        format!("\"{}\";q={};w={}", limit.name(), limit.messages(), limit.window().as_secs())
    }

    /// Returns the value of the header `RateLimit`, such as `"key";r=0;t=12`.
    #[must_use]
    pub fn state(&self) -> String {
        format!("\"{}\";r={};t={}", self.limit.name(), self.remaining, self.reset_seconds)
    }

    /// Returns the quota of a recipient who can't get a message now. `oldest_at` is when the oldest of as many messages
    /// as are allowed was requested.
    #[must_use]
    pub fn used_up(limit: u32, oldest_at: Timestamp, now: Timestamp) -> Self {
        let free_at = oldest_at + RECIPIENT_WINDOW;
        let wait = Duration::try_from(free_at.duration_since(now)).unwrap_or_default();
        Self { limit: Limit::Recipient(limit), remaining: 0, reset_seconds: whole_seconds(wait).max(1) }
    }
}

impl fmt::Display for Quota {
    /// Writes the limit, as the end of the sentence of a refusal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Limit::Key(messages) => write!(f, "{messages} per minute are allowed for an API key"),
            Limit::Recipient(messages) => write!(f, "{messages} in 24 hours are allowed to one recipient"),
        }
    }
}

/// Returns whether the limit of a recipient does not refuse such a message. It is counted anyway.
#[must_use]
pub fn is_exempt(priority: Priority, purpose: Purpose) -> bool {
    priority == Priority::Urgent || purpose == Purpose::Emergency
}

/// The minute of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minute {
    /// When it began.
    pub start: Timestamp,
    /// How long it still lasts, in milliseconds, rounded up: 1 to 60,000. As much of the minute before is within the
    /// last 60 seconds.
    pub left_ms: i64,
}

impl Minute {
    /// Returns the minute of UTC that contains a time.
    #[must_use]
    pub fn of(now: Timestamp) -> Self {
        let elapsed = now.as_millisecond().rem_euclid(MINUTE_MS);
        let start = Timestamp::from_millisecond(now.as_millisecond() - elapsed).unwrap_or(now);
        Self { start, left_ms: MINUTE_MS - elapsed }
    }

    /// Returns when the last minute began.
    #[must_use]
    pub fn last_start(self) -> Timestamp {
        self.start - KEY_WINDOW
    }
}

/// The window of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyWindow {
    /// The limit in messages per minute.
    pub limit: u32,
    /// The messages that were requested in the last minute.
    pub last_minute: i64,
    /// The messages that were requested in this minute.
    pub this_minute: i64,
    /// How long this minute lasts from now on, in milliseconds.
    pub left_ms: i64,
}

impl KeyWindow {
    /// Returns whether `messages` more are allowed.
    #[must_use]
    pub fn allows(&self, messages: i64) -> bool {
        messages * MINUTE_MS <= self.free()
    }

    /// Returns how many messages are allowed, times 60,000. Negative after concurrent requests have exceeded the limit.
    fn free(&self) -> i64 {
        (i64::from(self.limit) - self.this_minute) * MINUTE_MS - self.last_minute * self.left_ms
    }

    /// Returns the state after an accepted request.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota_until(i64::from(self.limit))
    }

    /// Returns the state after a refused request for `messages`.
    #[must_use]
    pub fn refusal(&self, messages: i64) -> Quota {
        self.quota_until(messages)
    }

    fn quota_until(&self, messages: i64) -> Quota {
        let wait = Duration::from_millis(self.wait_ms(messages).unsigned_abs());
        Quota {
            limit: Limit::Key(self.limit),
            remaining: (self.free().max(0) / MINUTE_MS).unsigned_abs(),
            reset_seconds: whole_seconds(wait).max(1),
        }
    }

    /// Returns after how many milliseconds `messages` are allowed, if no others are requested until then.
    fn wait_ms(&self, messages: i64) -> i64 {
        let room = (i64::from(self.limit) - messages).max(0);
        // The minute in which they fit, the messages of the minute before it, and how many of these may still count.
        let (ends_in, before, may_count) = if self.this_minute <= room {
            (self.left_ms, self.last_minute, room - self.this_minute)
        } else {
            (self.left_ms + MINUTE_MS, self.this_minute, room)
        };
        let fits_at = (may_count * MINUTE_MS).checked_div(before).unwrap_or(MINUTE_MS).min(MINUTE_MS);
        (ends_in - fits_at).max(0)
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(limit: u32, last_minute: i64, this_minute: i64, left_ms: i64) -> KeyWindow {
        KeyWindow { limit, last_minute, this_minute, left_ms }
    }

    /// The same window at a later time, if nothing is requested until then.
    fn later(window: KeyWindow, ms: i64) -> KeyWindow {
        let left_ms = window.left_ms - ms;
        if left_ms > 0 {
            KeyWindow { left_ms, ..window }
        } else if left_ms > -MINUTE_MS {
            let last_minute = window.this_minute;
            KeyWindow { last_minute, this_minute: 0, left_ms: left_ms + MINUTE_MS, ..window }
        } else {
            KeyWindow { last_minute: 0, this_minute: 0, left_ms: MINUTE_MS, ..window }
        }
    }

    #[test]
    fn the_last_minute_counts_as_far_as_it_is_in_the_window() {
        for (last_minute, this_minute, left_ms, remaining) in [
            (0, 0, 60_000, 600),
            (600, 0, 60_000, 0),
            (600, 0, 59_999, 0),
            (600, 0, 59_900, 1),
            (600, 0, 30_000, 300),
            (600, 200, 30_000, 100),
            (600, 300, 30_000, 0),
            (600, 301, 30_000, 0),
            (0, 599, 1, 1),
            (600, 0, 1, 599),
        ] {
            let window = window(600, last_minute, this_minute, left_ms);
            assert_eq!(window.quota().remaining, remaining, "{window:?}");
        }
    }

    #[test]
    fn a_refused_request_is_told_when_it_fits() {
        for (last_minute, this_minute, left_ms, messages, seconds) in [
            // The last minute must leave: 1 of 600 every 100 ms.
            (600, 0, 60_000, 1, 1),
            (600, 0, 60_000, 10, 1),
            (600, 0, 60_000, 11, 2),
            (600, 0, 60_000, 600, 60),
            (600, 300, 30_000, 300, 30),
            // This minute must leave too.
            (0, 600, 12_000, 1, 13),
            (0, 600, 12_000, 600, 72),
            (0, 400, 12_000, 400, 42),
            (700, 700, 1, 1, 9),
        ] {
            let window = window(600, last_minute, this_minute, left_ms);
            assert!(!window.allows(messages), "{window:?}");
            assert_eq!(window.refusal(messages).reset_seconds, seconds, "{window:?} {messages}");
        }
    }

    #[test]
    fn the_headers_have_the_form_of_the_draft() {
        let quota = window(600, 0, 600, 11_500).refusal(1);
        assert_eq!(quota.policy(), "\"key\";q=600;w=60");
        assert_eq!(quota.state(), "\"key\";r=0;t=12");
        assert_eq!(window(600, 0, 1, 11_500).quota().state(), "\"key\";r=599;t=72");
        let now: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let quota = Quota::used_up(5, "2026-10-31T12:00:00.5Z".parse().unwrap(), now);
        assert_eq!(
            (quota.policy().as_str(), quota.state().as_str()),
            ("\"recipient\";q=5;w=86400", "\"recipient\";r=0;t=1")
        );
        assert_eq!(Quota::used_up(5, now, now).reset_seconds, 86_400);
    }

    #[test]
    fn minutes_begin_at_whole_minutes_of_utc() {
        for (now, left_ms) in [
            ("2026-11-01T12:34:00Z", 60_000),
            ("2026-11-01T12:34:00.000999Z", 60_000),
            ("2026-11-01T12:34:48Z", 12_000),
            ("2026-11-01T12:34:59.999999Z", 1),
        ] {
            let minute = Minute::of(now.parse().unwrap());
            assert_eq!(
                (minute.start.to_string().as_str(), minute.left_ms),
                ("2026-11-01T12:34:00Z", left_ms)
            );
            assert_eq!(minute.last_start().to_string(), "2026-11-01T12:33:00Z");
        }
    }

    #[test]
    fn urgent_messages_and_emergencies_are_exempt_from_the_limit_of_a_recipient() {
        assert!(is_exempt(Priority::Urgent, Purpose::Marketing));
        assert!(is_exempt(Priority::Bulk, Purpose::Emergency));
        assert!(!is_exempt(Priority::Normal, Purpose::Service));
    }

    proptest! {
        #[test]
        fn exactly_the_remaining_messages_are_allowed(
            limit in 1..2_000_u32, last in 0..3_000_i64, this in 0..3_000_i64, left_ms in 1..=60_000_i64,
        ) {
            let window = window(limit, last, this, left_ms);
            let remaining = i64::try_from(window.quota().remaining).unwrap();
            prop_assert!(remaining == 0 || window.allows(remaining));
            prop_assert!(!window.allows(remaining + 1));
            prop_assert!(remaining <= i64::from(limit));
        }

        #[test]
        fn a_request_fits_at_the_announced_time_and_not_earlier(
            limit in 1..2_000_u32, last in 0..3_000_i64, this in 0..3_000_i64, left_ms in 1..=60_000_i64,
            messages in 1..2_000_i64,
        ) {
            let (window, messages) = (window(limit, last, this, left_ms), messages.min(i64::from(limit)));
            let wait = window.wait_ms(messages);
            prop_assert!((0..=120_000).contains(&wait));
            prop_assert!(later(window, wait).allows(messages));
            prop_assert_eq!(wait == 0, window.allows(messages));
            prop_assert!(wait == 0 || !later(window, wait - 1).allows(messages));
        }

        #[test]
        fn the_state_after_an_accepted_request_has_room_for_the_others(
            limit in 1_100..2_000_u32, last in 0..500_i64, this in 0..500_i64, left_ms in 1..=60_000_i64,
            messages in 1..100_i64,
        ) {
            let before = window(limit, last, this, left_ms);
            let after = window(limit, last, this + messages, left_ms).quota();
            prop_assert!(before.allows(messages));
            prop_assert_eq!(before.quota().remaining, after.remaining + messages.unsigned_abs());
            let reset_ms = i64::try_from(after.reset_seconds).unwrap() * 1_000;
            let whole = later(window(limit, last, this + messages, left_ms), reset_ms);
            prop_assert_eq!(whole.quota().remaining, u64::from(limit));
        }
    }
}
