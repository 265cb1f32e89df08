//! What the Monitor says about a number.

use super::error::PeerError;
use crate::domain::language::{Language, PUSH_CONFIDENCE};
use serde_json::Value;

/// How sure a tenant's stated preference is taken to be: as sure as what we push to the profile, where it may have come
/// from, and no surer, or it would outweigh what the tenant writes.
pub const PREFERENCE_CONFIDENCE: f32 = PUSH_CONFIDENCE;

/// The longest tenant id that is taken for one.
const MAX_ID_CHARACTERS: usize = 255;

/// A tenant that a number belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The tenant's id as text, whether the Monitor writes it as text or as a number.
    pub tenant_id: String,
    /// The language that the tenant prefers, if it is one of ours.
    pub preference: Option<Language>,
}

/// Whose number it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nobody's that the Monitor knows.
    Nobody,
    /// One tenant's.
    Tenant(Match),
    /// Several tenants': their ids, each once, in the order of the answer. None of them is to be chosen.
    Ambiguous(Vec<String>),
}

impl Answer {
    /// Sums up everything that was said about one number.
    pub(super) fn of(matches: Vec<Match>) -> Self {
        let mut tenants: Vec<Match> = Vec::with_capacity(matches.len());
        for found in matches {
            match tenants.iter_mut().find(|known| known.tenant_id == found.tenant_id) {
                Some(known) => known.preference = known.preference.or(found.preference),
                None => tenants.push(found),
            }
        }
        if tenants.len() > 1 {
            return Self::Ambiguous(tenants.into_iter().map(|tenant| tenant.tenant_id).collect());
        }
        tenants.pop().map_or(Self::Nobody, Self::Tenant)
    }
}

/// Reads the body of a 200: `{"tenant_id": …, "language_preference"?: …}`, or `{"tenants": […]}` with ids or such objects.
/// Nothing, an empty object, list or text, `null` and a null or empty id say that there is no match.
///
/// # Errors
///
/// [`PeerError::Unreadable`] for anything else: a login page, a proxy's error, another API's JSON.
pub(super) fn read(body: &[u8]) -> Result<Vec<Match>, PeerError> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let value: Value = serde_json::from_slice(body).map_err(|_| PeerError::Unreadable("is not JSON"))?;
    let object = match &value {
        empty if is_empty(empty) => return Ok(Vec::new()),
        Value::Object(object) => object,
        _ => return Err(PeerError::Unreadable("is not an object")),
    };
    let mut found: Vec<Match> = match object.get("tenants") {
        Some(Value::Array(tenants)) => tenants.iter().map(tenant).collect::<Result<_, _>>()?,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return Err(PeerError::Unreadable("has tenants that are no list")),
    };
    // An answer may have both, and name one tenant here and another one there.
    match object.get("tenant_id") {
        Some(id) if is_empty(id) => {}
        Some(_) => found.push(tenant(&value)?),
        None if object.contains_key("tenants") => {}
        // Another API's answer may have an "id" too.
        None => return Err(PeerError::Unreadable("has no tenant_id")),
    }
    Ok(found)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.trim().is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn tenant(value: &Value) -> Result<Match, PeerError> {
    let (id, preference) = match value {
        Value::Object(object) => {
            (object.get("tenant_id").or_else(|| object.get("id")), object.get("language_preference"))
        }
        id => (Some(id), None),
    };
    let tenant_id = id.and_then(tenant_id).ok_or(PeerError::Unreadable("has no usable tenant_id"))?;
    Ok(Match { tenant_id, preference: preference.and_then(Value::as_str).and_then(language) })
}

fn tenant_id(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(id) => id.trim().to_owned(),
        // Others have lost digits in the reading: they could be anybody's.
        Value::Number(id) if id.is_i64() || id.is_u64() => id.to_string(),
        _ => return None,
    };
    // Dots alone would not be an id but a way, in the profile service's address.
    let usable = (1..=MAX_ID_CHARACTERS).contains(&id.chars().count())
        && !id.chars().any(char::is_control)
        && !matches!(id.as_str(), "." | "..");
    usable.then_some(id)
}

/// Reads `es`, `ES`, `es-MX` and `es_MX` alike.
fn language(tag: &str) -> Option<Language> {
    let primary = tag.trim().split(['-', '_']).next()?.to_ascii_lowercase();
    primary.parse().ok().filter(|language| *language != Language::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str, preference: Option<Language>) -> Answer {
        Answer::Tenant(Match { tenant_id: id.to_owned(), preference })
    }

    fn answer(body: &str) -> Result<Answer, String> {
        read(body.as_bytes()).map(Answer::of).map_err(|error| error.to_string())
    }

    #[test]
    fn every_shape_of_an_answer_is_read_as_what_it_says() {
        use Language::{Es, Pt};
        let ambiguous = |ids: &[&str]| Answer::Ambiguous(ids.iter().map(|id| (*id).to_owned()).collect());
        for (body, expected) in [
            (r#"{"tenant_id":"T-1"}"#, tenant("T-1", None)),
            (r#"{"tenant_id":4711}"#, tenant("4711", None)),
            (r#"{"tenant_id":12345678901234567890}"#, tenant("12345678901234567890", None)),
            (r#"{"tenant_id":"T-1","language_preference":"es","name":"x"}"#, tenant("T-1", Some(Es))),
            (r#"{"tenant_id":"T-1","language_preference":"pt-BR"}"#, tenant("T-1", Some(Pt))),
            (r#"{"tenant_id":"T-1","language_preference":"ES_mx"}"#, tenant("T-1", Some(Es))),
            (r#"{"tenant_id":"T-1","language_preference":"fr"}"#, tenant("T-1", None)),
            (r#"{"tenant_id":"T-1","language_preference":7}"#, tenant("T-1", None)),
            (r#"{"tenants":["a","b"]}"#, ambiguous(&["a", "b"])),
            (r#"{"tenants":[{"tenant_id":"a"},{"tenant_id":2},{"id":"c"}]}"#, ambiguous(&["a", "2", "c"])),
            (r#"{"tenants":["a","a"]}"#, tenant("a", None)),
            (r#"{"tenants":[{"tenant_id":"a","language_preference":"es"}]}"#, tenant("a", Some(Es))),
            (r#"{"tenant_id":"a","tenants":["a"]}"#, tenant("a", None)),
            (r#"{"tenant_id":"a","tenants":["b"]}"#, ambiguous(&["b", "a"])),
            (r#"{"tenant_id":"a","tenants":null}"#, tenant("a", None)),
            (r#"{"tenant_id":"a","tenants":[]}"#, tenant("a", None)),
            (r#"{"tenant_id":null,"tenants":null}"#, Answer::Nobody),
            (r#"{"tenants":null}"#, Answer::Nobody),
            (r#"{"tenants":[]}"#, Answer::Nobody),
            (r#"{"tenant_id":null}"#, Answer::Nobody),
            (r#"{"tenant_id":"","language_preference":null}"#, Answer::Nobody),
            ("{}", Answer::Nobody),
            ("[]", Answer::Nobody),
            ("\"\"", Answer::Nobody),
            ("null", Answer::Nobody),
            ("", Answer::Nobody),
            (" \r\n", Answer::Nobody),
        ] {
            assert_eq!(answer(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_is_no_answer_is_a_failure_and_not_a_missing_tenant() {
        let long = format!(r#"{{"tenant_id":"{}"}}"#, "x".repeat(256));
        for body in [
            "<!doctype html><title>Sign in</title>",
            "OK",
            "[null]",
            "7",
            r#""nobody""#,
            r#"{"error":"no"}"#,
            r#"{"id":"request-17","status":"ok"}"#,
            r#"{"tenant_id":{"id":1}}"#,
            r#"{"tenant_id":123456789012345678901}"#,
            r#"{"tenant_id":1.5}"#,
            r#"{"tenants":["a",""]}"#,
            r#"{"tenant_id":".."}"#,
            r#"{"tenant_id":"a\u0000b"}"#,
            r#"{"tenants":"a"}"#,
            r#"{"tenants":["a",null]}"#,
            r#"{"tenant_id":"T-1""#,
            &long,
        ] {
            assert!(answer(body).is_err(), "{body}");
        }
    }
}
