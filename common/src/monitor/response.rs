//! Parses the Monitor's response to a tenant lookup.

use super::error::RequestError;
use crate::domain::language::{Language, PUSH_CONFIDENCE};
use serde_json::Value;

/// The confidence in a tenant's language preference from the Monitor.
///
/// It equals the threshold for pushing a language to the profile, because the preference may be one that we pushed. If
/// it were higher, it would outweigh the language of the tenant's messages.
pub const PREFERENCE_CONFIDENCE: f32 = PUSH_CONFIDENCE;

/// The maximum length of a tenant id, in characters.
const MAX_ID_CHARACTERS: usize = 255;

/// A tenant to which a number belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The tenant's id. The Monitor sends it as a string or as a number.
    pub tenant_id: String,
    /// The tenant's preferred language, if it is supported.
    pub preference: Option<Language>,
}

/// The tenant of a number according to the Monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantLookup {
    /// The number is unknown.
    NotFound,
    /// The number belongs to one tenant.
    Tenant(Match),
    /// The number belongs to several tenants: their distinct ids in the received order. Do not choose one of them.
    Ambiguous(Vec<String>),
}

impl TenantLookup {
    /// Combines all matches of one number.
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
        tenants.pop().map_or(Self::NotFound, Self::Tenant)
    }
}

/// Parses the body of a 200 response: `{"tenant_id": …, "language_preference"?: …}`, or `{"tenants": […]}` with ids or
/// such objects. An empty body, an empty object, array or string, `null`, and a null or empty id mean that there is no
/// match.
///
/// # Errors
///
/// [`RequestError::Unreadable`] for other content, such as a login page, a proxy's error page or another API's JSON.
pub(super) fn read(body: &[u8]) -> Result<Vec<Match>, RequestError> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let value: Value = serde_json::from_slice(body).map_err(|_| RequestError::Unreadable("is not JSON"))?;
    let object = match &value {
        empty if is_empty(empty) => return Ok(Vec::new()),
        Value::Object(object) => object,
        _ => return Err(RequestError::Unreadable("is not an object")),
    };
    let mut found: Vec<Match> = match object.get("tenants") {
        Some(Value::Array(tenants)) => tenants.iter().map(tenant).collect::<Result<_, _>>()?,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return Err(RequestError::Unreadable("has a tenants property that is not an array")),
    };
    // A response can have both properties, with different tenants.
    match object.get("tenant_id") {
        Some(id) if is_empty(id) => {}
        Some(_) => found.push(tenant(&value)?),
        None if object.contains_key("tenants") => {}
        // `id` is not accepted here, because responses of other APIs also have one.
        None => return Err(RequestError::Unreadable("has no tenant_id")),
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

fn tenant(value: &Value) -> Result<Match, RequestError> {
    let (id, preference) = match value {
        Value::Object(object) => {
            (object.get("tenant_id").or_else(|| object.get("id")), object.get("language_preference"))
        }
        id => (Some(id), None),
    };
    let tenant_id = id.and_then(tenant_id).ok_or(RequestError::Unreadable("has an invalid tenant_id"))?;
    Ok(Match { tenant_id, preference: preference.and_then(Value::as_str).and_then(language) })
}

fn tenant_id(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(id) => id.trim().to_owned(),
        // Floating-point numbers may have lost digits and match another tenant.
        Value::Number(id) if id.is_i64() || id.is_u64() => id.to_string(),
        _ => return None,
    };
    // The id becomes a path segment of the profile service's URL, where dots have a special meaning.
    let usable = (1..=MAX_ID_CHARACTERS).contains(&id.chars().count())
        && !id.chars().any(char::is_control)
        && !matches!(id.as_str(), "." | "..");
    usable.then_some(id)
}

/// Parses a language tag by its primary subtag: `es`, `ES`, `es-MX` and `es_MX` are equal.
fn language(tag: &str) -> Option<Language> {
    let primary = tag.trim().split(['-', '_']).next()?.to_ascii_lowercase();
    primary.parse().ok().filter(|language| *language != Language::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str, preference: Option<Language>) -> TenantLookup {
        TenantLookup::Tenant(Match { tenant_id: id.to_owned(), preference })
    }

    fn parse(body: &str) -> Result<TenantLookup, String> {
        read(body.as_bytes()).map(TenantLookup::of).map_err(|error| error.to_string())
    }

    #[test]
    fn all_valid_forms_of_a_response_are_parsed() {
        use Language::{Es, Pt};
        let ambiguous =
            |ids: &[&str]| TenantLookup::Ambiguous(ids.iter().map(|id| (*id).to_owned()).collect());
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
            (r#"{"tenant_id":null,"tenants":null}"#, TenantLookup::NotFound),
            (r#"{"tenants":null}"#, TenantLookup::NotFound),
            (r#"{"tenants":[]}"#, TenantLookup::NotFound),
            (r#"{"tenant_id":null}"#, TenantLookup::NotFound),
            (r#"{"tenant_id":"","language_preference":null}"#, TenantLookup::NotFound),
            ("{}", TenantLookup::NotFound),
            ("[]", TenantLookup::NotFound),
            ("\"\"", TenantLookup::NotFound),
            ("null", TenantLookup::NotFound),
            ("", TenantLookup::NotFound),
            (" \r\n", TenantLookup::NotFound),
        ] {
            assert_eq!(parse(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn an_invalid_response_is_an_error_and_not_an_unknown_number() {
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
            assert!(parse(body).is_err(), "{body}");
        }
    }
}
