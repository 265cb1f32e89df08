//! Limits of requested messages.

use super::{Origin, Sending};
use crate::config::Env;
use crate::db::Db;
use crate::db::rate_limits::{self, Count, Requested};
use crate::db::sends::{Idempotency, NewSend};
use crate::domain::message::Purpose;
use crate::domain::rate_limit::{Quota, is_exempt};
use crate::http::ApiError;
use std::ops::RangeInclusive;

/// The limits, read from the environment: `API_KEY_MESSAGES_PER_MINUTE` (none) and `RECIPIENT_MESSAGES_PER_DAY` (none).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendLimits {
    /// How many messages one API key may request per minute.
    pub key: Option<u32>,
    /// How many messages to one recipient may be requested in 24 hours. Urgent messages and emergencies may exceed it.
    pub recipient: Option<u32>,
}

impl SendLimits {
    /// Reads the limits.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let key = limit(env, "API_KEY_MESSAGES_PER_MINUTE", 1..=1_000_000);
        // Each request reads as many messages of its recipient.
        let recipient = limit(env, "RECIPIENT_MESSAGES_PER_DAY", 1..=10_000);
        Some(Self { key: key?, recipient: recipient? })
    }
}

fn limit(env: &mut Env<'_>, name: &'static str, range: RangeInclusive<u32>) -> Option<Option<u32>> {
    let limit: Option<u32> = env.optional_parse(name)?;
    if limit.is_some_and(|limit| !range.contains(&limit)) {
        env.problem(format!("{name} must be between {} and {}", range.start(), range.end()));
        return None;
    }
    Some(limit)
}

impl Sending {
    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> SendLimits {
        self.config.limits
    }

    /// Counts a message before it is stored. Returns what is left of its key's limit, if it has one. A request that
    /// repeats an earlier one is neither counted nor refused; nor is one whose recipient has opted out, which can't be
    /// stored.
    ///
    /// # Errors
    ///
    /// [`ApiError::RateLimited`] when a limit is reached: nothing was counted. [`ApiError::Unavailable`] when Postgres
    /// is unavailable.
    pub async fn count_message(
        &self,
        db: &Db,
        send: &NewSend,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<Quota>, ApiError> {
        let limits = self.config.limits;
        let recipient_limit = limits.recipient.filter(|_| !is_exempt(send.priority, send.purpose));
        if limits.key.is_none() && recipient_limit.is_none() {
            return Ok(None);
        }
        let requested = Requested {
            api_key_id: send.api_key_id,
            key_limit: limits.key,
            messages: 1,
            account_sid: &send.account_sid,
            recipient: Some(&send.to),
            recipient_limit,
            workflow_type: send.workflow_type.as_deref(),
            purpose: send.purpose,
            idempotency_key: idempotency.map(|idempotency| idempotency.key.as_str()),
            at: send.created_at,
        };
        allowed(rate_limits::count(db, &requested).await?)
    }

    /// Counts the messages of a bulk request before they are stored. The limit of their recipients is checked for each.
    /// Returns what is left of the key's limit, if it has one.
    ///
    /// # Errors
    ///
    /// As [`Sending::count_message`].
    pub async fn count_messages(
        &self,
        db: &Db,
        messages: usize,
        origin: &Origin,
    ) -> Result<Option<Quota>, ApiError> {
        if self.config.limits.key.is_none() || messages == 0 {
            return Ok(None);
        }
        let requested = Requested {
            api_key_id: origin.api_key_id,
            key_limit: self.config.limits.key,
            // At most 1,000.
            messages: i32::try_from(messages).unwrap_or(i32::MAX),
            account_sid: self.account_sid(),
            recipient: None,
            recipient_limit: None,
            workflow_type: None,
            purpose: Purpose::default(),
            idempotency_key: None,
            at: origin.at,
        };
        allowed(rate_limits::count(db, &requested).await?)
    }
}

fn allowed(count: Count) -> Result<Option<Quota>, ApiError> {
    match count {
        Count::Allowed(quota) => Ok(quota),
        Count::Refused(quota) => Err(ApiError::RateLimited(quota)),
        Count::NotCounted => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;

    fn read(key: &str, recipient: &str) -> Result<SendLimits, ConfigError> {
        let lookup = |name: &str| match name {
            "API_KEY_MESSAGES_PER_MINUTE" => Some(key.to_owned()),
            "RECIPIENT_MESSAGES_PER_DAY" => Some(recipient.to_owned()),
            _ => None,
        };
        let mut env = Env::new(&lookup);
        let limits = SendLimits::from_env(&mut env);
        env.finish(|| limits)
    }

    #[test]
    fn a_limit_is_off_or_a_number() {
        assert_eq!(read("", "").unwrap(), SendLimits::default());
        assert_eq!(read("600", "").unwrap(), SendLimits { key: Some(600), recipient: None });
        assert_eq!(read("", "5").unwrap(), SendLimits { key: None, recipient: Some(5) });
        let problems = [
            "API_KEY_MESSAGES_PER_MINUTE must be between 1 and 1000000",
            "RECIPIENT_MESSAGES_PER_DAY is invalid (invalid digit found in string)",
        ];
        assert_eq!(read("0", "five").unwrap_err().problems(), problems);
    }
}
