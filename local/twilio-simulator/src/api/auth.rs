//! HTTP Basic authentication.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::api::error::ApiError;
use crate::delivery::engine::Engine;

/// The credentials of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Account SID and Auth Token, or an API key.
    Live,
    /// The test credentials.
    Test,
}

/// Authenticates a request for `account_sid`, which is part of the path, and logs a refusal.
///
/// # Errors
/// Error 20003 for missing or unknown credentials, or those of another account.
pub(crate) fn caller(engine: &Engine, headers: &HeaderMap, account_sid: &str) -> Result<Caller, ApiError> {
    let (user, password) = basic(headers).unwrap_or_default();
    let (config, accepted) = (&engine.config, engine.credentials());
    let of_account = user == config.account_sid && accepted.auth_tokens.contains(&password);
    let of_key = accepted.api_keys.iter().any(|key| key.sid == user && key.secret == password);
    if (of_account || of_key) && account_sid == config.account_sid {
        return Ok(Caller::Live);
    }
    match &config.test_credentials {
        Some(test) if test.sid == user && test.secret == password && account_sid == user => Ok(Caller::Test),
        _ => {
            engine.log_refusal(user);
            Err(ApiError::of(20003))
        }
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}
