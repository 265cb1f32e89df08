//! Decides which of Twilio's delivery failures are retried with a new message, and when.

use super::ErrorClass;
use crate::config::Env;
use crate::domain::renewal::Renewals;
use std::time::Duration;

/// The maximum number of renewals of a message; a longer configured list is cut.
const MAX_RENEWALS: usize = 2;

/// The default of `SEND_RETRY_DELAYS_SECONDS`: the delays between attempts that Twilio did not process.
pub const SEND_RETRY_DELAYS: [u64; 4] = [60, 300, 1_800, 7_200];

/// The schedule of renewals: new messages in place of ones that Twilio accepted but could not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalPolicy {
    delays: Vec<Duration>,
    max_age: Duration,
}

impl RenewalPolicy {
    /// Reads the schedule from the environment.
    ///
    /// - `TRANSIENT_RETRY_DELAYS_SECONDS`: the delay before each renewal after a transient failure, at most two. The
    ///   default
    ///   is two times the longest of `SEND_RETRY_DELAYS_SECONDS`, so that one variable shortens all schedules in a
    ///   test.
    /// - `SEND_MAX_AGE_SECONDS` (default 86400): how long a message without `send_before` is retried, counted from the
    ///   time
    ///   at which it first became due.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let schedule = env.seconds_list("SEND_RETRY_DELAYS_SECONDS", &SEND_RETRY_DELAYS);
        let longest = schedule.iter().flatten().max().map_or(0, Duration::as_secs);
        let delays = env.seconds_list("TRANSIENT_RETRY_DELAYS_SECONDS", &[longest; MAX_RENEWALS]);
        let max_age = env.seconds("SEND_MAX_AGE_SECONDS", 1..=2_592_000, 86_400);
        schedule?;
        let delays = delays?.into_iter().take(MAX_RENEWALS).collect();
        Some(Self { delays, max_age: max_age? })
    }

    /// Returns the delays for a message that waits for a window: as many as fit into its maximum age.
    fn windows(&self) -> Vec<Duration> {
        let Some(longest) = self.delays.iter().copied().max().filter(|delay| !delay.is_zero()) else {
            return Vec::new();
        };
        let times = self.max_age.as_secs() / longest.as_secs().max(1);
        vec![longest; usize::try_from(times).unwrap_or(usize::MAX).clamp(1, MAX_WINDOWS)]
    }
}

/// The maximum number of waits for a window.
const MAX_WINDOWS: usize = 24;

impl Renewals for RenewalPolicy {
    fn after(&self, error_code: &str) -> Vec<Duration> {
        let Ok(code) = error_code.parse() else { return Vec::new() };
        match ErrorClass::of(code) {
            ErrorClass::Transient if ErrorClass::is_unknown_failure(code) => {
                self.delays.iter().copied().take(1).collect()
            }
            ErrorClass::Transient => self.delays.clone(),
            ErrorClass::WaitForWindow => self.windows(),
            ErrorClass::NotProcessed
            | ErrorClass::SenderQueueFull
            | ErrorClass::Ambiguous
            | ErrorClass::Recipient
            | ErrorClass::OptedOut
            | ErrorClass::Content
            | ErrorClass::Configuration
            | ErrorClass::Unlisted => Vec::new(),
        }
    }

    fn max_age(&self) -> Duration {
        self.max_age
    }
}

impl Default for RenewalPolicy {
    fn default() -> Self {
        Self { delays: vec![Duration::from_secs(7_200); MAX_RENEWALS], max_age: Duration::from_secs(86_400) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transient_failure_is_renewed_twice_an_unknown_one_once_and_a_permanent_one_never() {
        let after = |code: &str| -> Vec<u64> {
            RenewalPolicy::default().after(code).iter().map(Duration::as_secs).collect()
        };
        for code in ["30001", "30003", "30017", "30022", "30410", "30500"] {
            assert_eq!(after(code), [7_200, 7_200], "{code}");
        }
        assert_eq!(after("30008"), [7_200]);
        for code in ["30004", "30005", "30006", "30007", "21610", "30002", "0", "", "opted_out"] {
            assert!(after(code).is_empty(), "{code}");
        }
    }

    #[test]
    fn waits_for_a_window_fill_the_maximum_age_of_the_message() {
        let after = RenewalPolicy::default().after("30023");
        assert_eq!(after, vec![Duration::from_secs(7_200); 12]);
    }

    #[test]
    fn renewals_default_to_the_longest_retry_delay_and_are_at_most_two() {
        let read = |variables: &[(&str, &str)]| {
            let lookup = |name: &str| {
                variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
            };
            RenewalPolicy::from_env(&mut Env::new(&lookup)).unwrap().after("30003")
        };
        let seconds = |delays: &[u64]| delays.iter().copied().map(Duration::from_secs).collect::<Vec<_>>();
        assert_eq!(read(&[("SEND_RETRY_DELAYS_SECONDS", "1,3")]), seconds(&[3, 3]));
        let both = [("SEND_RETRY_DELAYS_SECONDS", "1"), ("TRANSIENT_RETRY_DELAYS_SECONDS", "5,6,7")];
        assert_eq!(read(&both), seconds(&[5, 6]));
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let mut env = Env::new(&|_| None);
        assert_eq!(RenewalPolicy::from_env(&mut env), Some(RenewalPolicy::default()));
    }
}
