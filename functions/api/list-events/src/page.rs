//! The parameters of the endpoint.

use common::db::events::Filter;
use common::http::{Parameters, ValidationError};
use common::service::events::{self, Cursor};
use std::time::Duration;

/// Default number of events per page.
const DEFAULT_LIMIT: u32 = 100;
/// Maximum number of events per page: at most about 1 MB.
const MAX_LIMIT: u32 = 1000;
/// Maximum number of seconds to wait. The gateway ends a request after 30.
pub const MAX_WAIT_SECONDS: u32 = 20;

/// The parameters of the endpoint.
const NAMES: &[&str] = &["after", "types", "workflow_type", "tenant_id", "conversation", "wait", "limit"];

/// The requested page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Which events are returned.
    pub filter: Filter,
    /// Where the page begins.
    pub after: Cursor,
    /// How long to wait for an event.
    pub wait: Duration,
    /// Maximum number of events, 1 to 1000.
    pub limit: u32,
}

impl Page {
    /// Reads the parameters of the endpoint, and ignores others.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with all invalid parameters.
    pub fn from_query(query: impl Iterator<Item = (String, String)>) -> Result<Self, ValidationError> {
        let mut given = Parameters::read(query, NAMES);
        let filter = events::filter(&mut given);
        let after = given.parse::<Cursor>("after").unwrap_or_default();
        let wait = given.number("wait", 0, MAX_WAIT_SECONDS).unwrap_or(0);
        let limit = given.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
        given.check()?;
        Ok(Self { filter, after, wait: Duration::from_secs(wait.into()), limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::domain::event::EventType;

    fn page(query: &[(&str, &str)]) -> Result<Page, String> {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Page::from_query(query).map_err(|error| error.sentences())
    }

    #[test]
    fn all_parameters_are_read() {
        let id = "01900000-0000-7000-8000-00000000000c";
        let after = Cursor::START.to_string();
        let query = [
            ("after", after.as_str()),
            ("types", "message.received,contact.opted_out"),
            ("workflow_type", "collections"),
            ("tenant_id", "t-1"),
            ("conversation", id),
            ("wait", "20"),
            ("limit", "1000"),
            ("other", "x"),
        ];
        let filter = Filter {
            types: vec![EventType::MessageReceived, EventType::OptedOut],
            workflow_type: Some("collections".to_owned()),
            tenant_id: Some("t-1".to_owned()),
            conversation_id: id.parse().ok(),
        };
        let expected = Page { filter, after: Cursor::START, wait: Duration::from_secs(20), limit: 1000 };
        assert_eq!(page(&query), Ok(expected));
        let default =
            Page { filter: Filter::default(), after: Cursor::START, wait: Duration::ZERO, limit: 100 };
        assert_eq!(page(&[]), Ok(default));
    }

    #[test]
    fn every_invalid_parameter_is_named() {
        let digits = "99999999999999999999";
        for (name, value, reason) in [
            ("after", digits, "is not a next_cursor of this API"),
            ("after", "", "is not a next_cursor of this API"),
            ("types", "", "is empty"),
            (
                "types",
                "message.received,x",
                "must be event types, separated by commas: \"x\" is not an event type",
            ),
            (
                "types",
                "message.received,",
                "must be event types, separated by commas: \"\" is not an event type",
            ),
            ("tenant_id", "\0", "contains a NUL character"),
            ("conversation", "+12035550123", "must be a conversation_id"),
            ("wait", "21", "must be a whole number from 0 to 20"),
            ("wait", digits, "must be a whole number from 0 to 20"),
            ("limit", "0", "must be a whole number from 1 to 1000"),
            ("limit", digits, "must be a whole number from 1 to 1000"),
        ] {
            assert_eq!(page(&[(name, value)]), Err(format!("{name} {reason}")), "{name}={value}");
        }
    }
}
