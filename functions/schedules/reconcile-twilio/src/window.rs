//! Parses the payload.

use common::db::reconciliation::Window;
use common::http::{Fields, ValidationError};
use serde_json::Value;

/// Returns the window that an operator gave, or `None` for scheduled runs and an empty payload.
///
/// # Errors
///
/// [`ValidationError`] with all invalid fields.
pub(crate) fn named(payload: Value) -> Result<Option<Window>, ValidationError> {
    if payload.get("detail-type").is_some() {
        return Ok(None);
    }
    let mut fields = Fields::from_value(payload)?;
    let since = fields.instant("since");
    let until = fields.instant("until");
    match (since, until) {
        (Some(since), Some(until)) if until <= since => fields.problem("until", "is not after since"),
        (Some(_), None) => fields.missing("until"),
        (None, Some(_)) => fields.missing("since"),
        _ => {}
    }
    let window = since.zip(until).map(|(since, until)| Window { since, until });
    fields.finish_with(Some(window))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(payload: Value) -> Vec<String> {
        let error = named(payload).unwrap_err();
        error.fields().iter().map(|problem| format!("{} {}", problem.field, problem.reason)).collect()
    }

    #[test]
    fn a_window_has_both_ends_or_is_the_default() {
        assert_eq!(named(json!({})), Ok(None));
        assert_eq!(
            named(json!({"detail-type": "Scheduled Event", "source": "aws.events", "id": "x"})),
            Ok(None)
        );
        let window = named(json!({"since": "2026-11-01T00:00:00Z", "until": "2026-11-02T00:00:00Z"}));
        assert_eq!(window.unwrap().unwrap().until.to_string(), "2026-11-02T00:00:00Z");
        assert_eq!(problems(json!({"since": "2026-11-01T00:00:00Z"})), ["until is missing"]);
        assert_eq!(problems(json!({"until": "tomorrow", "x": 1})).len(), 2);
        let backwards = json!({"since": "2026-11-02T00:00:00Z", "until": "2026-11-01T00:00:00Z"});
        assert_eq!(problems(backwards), ["until is not after since"]);
    }
}
