//! Which of Twilio's failures may pass, and after how long a message is created anew.

use super::ErrorClass;
use crate::config::Env;
use crate::domain::renewal::Renewals;
use std::time::Duration;

/// Unknown error at the carrier: worth one more create, not two.
const ONCE: u32 = 30008;

/// How often a message is created anew at most, whatever the configuration says (SPEC §6).
const MAX_RENEWALS: usize = 2;

/// The default of `SEND_RETRY_DELAYS_SECONDS`: after which try that Twilio did not process the next one comes.
pub const SEND_RETRY_DELAYS: [u64; 4] = [60, 300, 1_800, 7_200];

/// When messages are created anew that Twilio took and could not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalPolicy {
    delays: Vec<Duration>,
    max_age: Duration,
}

impl RenewalPolicy {
    /// Reads `TRANSIENT_RETRY_DELAYS_SECONDS`: after which failure of the moment a message is created anew, as often as there
    /// are entries, twice at most; without it, twice after the longest of `SEND_RETRY_DELAYS_SECONDS` (60,300,1800,7200), so
    /// that one variable makes all schedules short. And `SEND_MAX_AGE_SECONDS` (86 400): how long a message without
    /// `send_before` is tried from when it was to be sent first.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let schedule = env.seconds_list("SEND_RETRY_DELAYS_SECONDS", &SEND_RETRY_DELAYS);
        let longest = schedule.iter().flatten().max().map_or(0, Duration::as_secs);
        let delays = env.seconds_list("TRANSIENT_RETRY_DELAYS_SECONDS", &[longest; MAX_RENEWALS]);
        let max_age = env.seconds("SEND_MAX_AGE_SECONDS", 1..=2_592_000, 86_400);
        schedule?;
        let delays = delays?.into_iter().take(MAX_RENEWALS).collect();
        Some(Self { delays, max_age: max_age? })
    }

    /// How often a message can wait for a window within the time that it has.
    fn windows(&self) -> Vec<Duration> {
        let Some(longest) = self.delays.iter().copied().max().filter(|delay| !delay.is_zero()) else {
            return Vec::new();
        };
        let times = self.max_age.as_secs() / longest.as_secs().max(1);
        vec![longest; usize::try_from(times).unwrap_or(usize::MAX).clamp(1, MAX_WINDOWS)]
    }
}

/// No message waits for a window more often than this, whatever the times say.
const MAX_WINDOWS: usize = 24;

impl Renewals for RenewalPolicy {
    fn after(&self, error_code: &str) -> Vec<Duration> {
        let Ok(code) = error_code.parse() else { return Vec::new() };
        match ErrorClass::of(code) {
            ErrorClass::Transient if code == ONCE => self.delays.iter().copied().take(1).collect(),
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
    fn a_failure_of_the_moment_is_worth_two_creates_an_unknown_one_one_and_a_final_one_none() {
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
    fn a_window_is_waited_for_as_long_as_the_message_has_time() {
        let after = RenewalPolicy::default().after("30023");
        assert_eq!(after, vec![Duration::from_secs(7_200); 12]);
    }

    #[test]
    fn a_short_schedule_makes_renewals_short_too_and_a_long_list_makes_no_third() {
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
    fn the_defaults_are_those_of_an_empty_environment() {
        let mut env = Env::new(&|_| None);
        assert_eq!(RenewalPolicy::from_env(&mut env), Some(RenewalPolicy::default()));
    }
}
