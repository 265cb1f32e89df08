//! Decides when a message that Twilio did not accept is retried, and when it has failed.

use common::clock;
use common::config::Env;
use common::db::sends::{Claimed, RETRIES_EXHAUSTED, SendResult};
use common::domain::delivery_failure::FailurePolicy;
use common::twilio::{ErrorClass, Retry, SendError, SendOutcome, send_max_age, send_retry_delays};
use jiff::Timestamp;
use std::time::Duration;

/// The maximum number of requests for a message within one invocation.
const MAX_ATTEMPTS: u32 = 3;
/// The upper bound of the first backoff. It doubles with each attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The maximum backoff within an invocation.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How often a message that Twilio refuses because of its sender's configuration is the first one after a hold. Perhaps
/// Twilio refuses only this message, for example because of its country. Then others go first, and end the hold.
const REFUSALS_FIRST: i32 = 3;
/// How many hold durations such a message then waits, so that it causes holds for only a small part of the time.
const HOLDS_TO_WAIT: u32 = 12;

/// When a send is retried.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    delays: Vec<Duration>,
    max_age: Duration,
}

impl RetryPolicy {
    /// Reads [`send_retry_delays`], of which the last one repeats, and [`send_max_age`].
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let delays = send_retry_delays(env);
        let max_age = send_max_age(env);
        Some(Self { delays: delays?, max_age: max_age? })
    }

    /// Returns the backoff before the next attempt within this invocation, or `None` after the last attempt and if
    /// Twilio requests a longer pause.
    pub(crate) fn wait_within_invocation(
        &self,
        attempts: u32,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let wait = retry_after.unwrap_or_else(|| jitter(attempts));
        (attempts < MAX_ATTEMPTS && wait <= MAX_BACKOFF).then_some(wait)
    }

    /// Returns the outcome of a failed request. `hold` is how long a sender with a wrong configuration is held.
    ///
    /// `renewals` are limited by the number of all attempts, so a message with earlier retries is renewed less often.
    pub(crate) fn outcome(
        &self,
        claim: &Claimed,
        error: &SendError,
        renewals: &dyn FailurePolicy,
        hold: Duration,
        now: Timestamp,
    ) -> SendResult {
        let detail = common::error::chain(error);
        let code = error.code().map(|code| code.to_string());
        let refused = |code: Option<String>, detail| {
            let error_code = code.unwrap_or_else(|| "refused".to_owned());
            let recipient = error.class().and_then(ErrorClass::recipient_effect);
            SendResult::Failed { by_twilio: true, error_code, recipient, detail }
        };
        let end = claim.send_before.unwrap_or(claim.wanted_at + self.max_age);
        let (pause, next_attempt_at) = match error.retry() {
            Retry::Resolve => return SendResult::Unknown { detail },
            Retry::Never => return refused(code, detail),
            Retry::Backoff { retry_after } => {
                let pause = self.delay(claim.attempt_number).max(retry_after.unwrap_or_default());
                (pause, now + pause)
            }
            Retry::CreateAgain => {
                let renewals = renewals.after(code.as_deref().unwrap_or_default());
                let attempt = usize::try_from(claim.attempt_number - 1).unwrap_or_default();
                let Some(pause) = renewals.get(attempt) else { return refused(code, detail) };
                (*pause, now + *pause)
            }
            // The sender is held for this time, and the message is then the first one.
            Retry::HoldSender => (self.pause(claim, error.outcome()), claim.due_at),
            Retry::AfterConfigurationFix if claim.attempt_number <= REFUSALS_FIRST => (hold, claim.due_at),
            Retry::AfterConfigurationFix => (hold, (now + hold * HOLDS_TO_WAIT).min(end - hold)),
            // The window opens after hours, so frequent retries are useless.
            Retry::WaitForWindow => (self.longest_delay(), now + self.longest_delay()),
        };
        if now + pause >= end {
            let error_code = RETRIES_EXHAUSTED.to_owned();
            return SendResult::Failed { by_twilio: false, error_code, recipient: None, detail };
        }
        SendResult::Deferred { next_attempt_at, error_code: code, detail }
    }

    /// Returns the outcome of a message whose request was not started: it keeps its due time.
    pub(crate) fn not_started(&self, claim: &Claimed, detail: &str) -> SendResult {
        SendResult::Deferred { next_attempt_at: claim.due_at, error_code: None, detail: detail.to_owned() }
    }

    /// Returns the outcome of a message that was settled before the gate. Its status does not change; if it is still
    /// pending, it is retried after a delay.
    pub(crate) fn settled(&self, claim: &Claimed, now: Timestamp) -> SendResult {
        SendResult::Deferred {
            next_attempt_at: now + self.delay(claim.attempt_number),
            error_code: None,
            detail: "the claim had ended or the message was settled before the request".to_owned(),
        }
    }

    /// Returns how long to hold a sender whose queue at Twilio is full: Twilio's `Retry-After`, or the message's retry
    /// delay.
    pub(crate) fn pause(&self, claim: &Claimed, outcome: SendOutcome) -> Duration {
        match outcome {
            SendOutcome::NotProcessed { retry_after: Some(pause) } => pause,
            _ => self.delay(claim.attempt_number),
        }
    }

    /// Returns how long a message without `send_before` is retried.
    pub(crate) fn max_age(&self) -> Duration {
        self.max_age
    }

    pub(crate) fn delay(&self, attempt: i32) -> Duration {
        let position = usize::try_from(attempt - 1).unwrap_or(0).min(self.delays.len().saturating_sub(1));
        self.delays.get(position).copied().unwrap_or(MAX_BACKOFF)
    }

    pub(crate) fn longest_delay(&self) -> Duration {
        self.delays.iter().copied().max().unwrap_or(MAX_BACKOFF)
    }
}

/// Returns a backoff with full jitter: between zero and a bound that doubles with each attempt, from 100 ms to 2 s.
pub(crate) fn jitter(attempts: u32) -> Duration {
    let bound = FIRST_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(MAX_BACKOFF);
    bound.mul_f64(clock::random_fraction())
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::Env;
    use common::twilio::RenewalPolicy;

    fn policy() -> RetryPolicy {
        let mut env = Env::new(&|_| None);
        RetryPolicy::from_env(&mut env).unwrap()
    }

    fn claim(attempt_number: i32) -> Claimed {
        let id = clock::new_id();
        Claimed {
            message_id: id.into(),
            attempt_id: id.into(),
            attempt_number,
            sender: "+15005550006".into(),
            to: "+18605550123".parse().unwrap(),
            message_content: "rent".to_owned(),
            media_urls: Vec::new(),
            request_id: "r-1".to_owned(),
            trace_context: None,
            send_before: None,
            wanted_at: Timestamp::UNIX_EPOCH,
            due_at: Timestamp::UNIX_EPOCH,
            is_probe: false,
        }
    }

    const HOLD: Duration = Duration::from_secs(300);

    fn seconds_until_next(attempt: i32, error: &SendError) -> i64 {
        match policy().outcome(&claim(attempt), error, &RenewalPolicy::default(), HOLD, Timestamp::UNIX_EPOCH)
        {
            SendResult::Deferred { next_attempt_at, .. } => next_attempt_at.as_second(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn retries_follow_the_configured_delays_and_the_last_delay_repeats() {
        let limited = SendError::Limited { code: None, retry_after: None };
        let spaces: Vec<_> = (1..=6).map(|attempt| seconds_until_next(attempt, &limited)).collect();
        assert_eq!(spaces, [60, 300, 1_800, 7_200, 7_200, 7_200]);
    }

    #[test]
    fn a_retry_after_from_twilio_is_used_if_it_is_longer() {
        let limited =
            |seconds| SendError::Limited { code: None, retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(seconds_until_next(1, &limited(5)), 60);
        assert_eq!(seconds_until_next(1, &limited(600)), 600);
    }

    #[test]
    fn a_message_of_a_held_sender_keeps_its_due_time_unless_it_expires_first() {
        for code in [20003, 21611] {
            let refused = SendError::Refused { status: 400, code, retry_after: None };
            assert_eq!(seconds_until_next(1, &refused), 0);
            let almost_a_day = Timestamp::UNIX_EPOCH + Duration::from_secs(86_400 - 30);
            let outcome =
                policy().outcome(&claim(1), &refused, &RenewalPolicy::default(), HOLD, almost_a_day);
            assert!(matches!(outcome, SendResult::Failed { by_twilio: false, .. }), "{code}: {outcome:?}");
        }
    }

    #[test]
    fn a_message_refused_repeatedly_for_its_sender_lets_others_go_first() {
        let refused = SendError::Refused { status: 400, code: 21606, retry_after: None };
        assert_eq!((1..=3).map(|attempt| seconds_until_next(attempt, &refused)).max(), Some(0));
        assert_eq!(seconds_until_next(4, &refused), 3_600);
        let claim =
            Claimed { send_before: Some(Timestamp::UNIX_EPOCH + Duration::from_secs(1_000)), ..claim(4) };
        let outcome =
            policy().outcome(&claim, &refused, &RenewalPolicy::default(), HOLD, Timestamp::UNIX_EPOCH);
        assert!(
            matches!(outcome, SendResult::Deferred { next_attempt_at, .. } if next_attempt_at.as_second() == 700),
            "it gets a last attempt before it expires: {outcome:?}"
        );
    }

    #[test]
    fn an_ambiguous_failure_is_unknown_and_a_permanent_one_fails_with_its_code() {
        let failed = SendError::Failed { status: 500, code: None };
        assert!(matches!(
            policy().outcome(&claim(1), &failed, &RenewalPolicy::default(), HOLD, Timestamp::UNIX_EPOCH),
            SendResult::Unknown { .. }
        ));
        let refused = SendError::Refused { status: 400, code: 21211, retry_after: None };
        let outcome =
            policy().outcome(&claim(1), &refused, &RenewalPolicy::default(), HOLD, Timestamp::UNIX_EPOCH);
        assert!(
            matches!(outcome, SendResult::Failed { by_twilio: true, error_code, .. } if error_code == "21211")
        );
    }

    #[test]
    fn a_temporarily_refused_message_is_created_again_as_often_as_its_code_allows() {
        let refused = |code, attempt| {
            let error = SendError::Refused { status: 400, code, retry_after: None };
            policy().outcome(&claim(attempt), &error, &RenewalPolicy::default(), HOLD, Timestamp::UNIX_EPOCH)
        };
        let spaces: Vec<_> = [(30001, 1), (30001, 2), (30008, 1)]
            .map(|(code, attempt)| match refused(code, attempt) {
                SendResult::Deferred { next_attempt_at, .. } => next_attempt_at.as_second(),
                other => panic!("{code}: {other:?}"),
            })
            .into();
        assert_eq!(spaces, [7_200, 7_200, 7_200]);
        for (code, attempt) in [(30001, 3), (30001, 9), (30008, 2)] {
            let outcome = refused(code, attempt);
            assert!(
                matches!(&outcome, SendResult::Failed { by_twilio: true, error_code,
                    .. } if *error_code == code.to_string()),
                "{code}: {outcome:?}"
            );
        }
    }

    #[test]
    fn a_message_that_expires_before_its_next_attempt_has_failed() {
        let limited = SendError::Limited { code: None, retry_after: None };
        let almost_a_day = Timestamp::UNIX_EPOCH + Duration::from_secs(86_400 - 60);
        let outcome = policy().outcome(&claim(1), &limited, &RenewalPolicy::default(), HOLD, almost_a_day);
        assert!(matches!(outcome, SendResult::Failed { by_twilio: false, error_code,
                .. } if error_code == "retries_exhausted"));
    }

    #[test]
    fn backoffs_within_an_invocation_are_short_and_few() {
        for _ in 0..100 {
            assert!(policy().wait_within_invocation(1, None).unwrap() <= MAX_BACKOFF);
        }
        assert_eq!(policy().wait_within_invocation(3, None), None);
        assert_eq!(policy().wait_within_invocation(1, Some(Duration::from_secs(30))), None);
        assert_eq!(
            policy().wait_within_invocation(1, Some(Duration::from_secs(1))),
            Some(Duration::from_secs(1))
        );
    }
}
