//! The parameters of the endpoint.

use common::db::events::Filter;
use common::http::{HttpRequestExt, Parameters, Request, ValidationError};
use common::service::events::{self, Cursor, FILTERS};

/// The header with the cursor of the last event that the client has received.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// The requested stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which events are sent.
    pub filter: Filter,
    /// Where the stream begins.
    pub after: Cursor,
    /// The name of the header or parameter with that cursor.
    pub after_name: &'static str,
}

impl Query {
    /// Reads the parameters and the header of the endpoint, and ignores others.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with all invalid parameters.
    pub fn read(request: &Request) -> Result<Self, ValidationError> {
        // A browser that has received no event sends no header; other clients may send an empty one.
        let last = request.header(LAST_EVENT_ID).filter(|last| !last.is_empty());
        Self::parse(request.query(), last)
    }

    fn parse(
        query: impl Iterator<Item = (String, String)>,
        last_event_id: Option<&str>,
    ) -> Result<Self, ValidationError> {
        let [types, workflow_type, tenant_id, conversation] = FILTERS;
        let names = [types, workflow_type, tenant_id, conversation, "after"];
        // An `EventSource` that connects again still has the `after` of its first request in its URL.
        let query = query.filter(|(name, _)| last_event_id.is_none() || name != "after");
        let mut given = Parameters::read(query, &names);
        let filter = events::filter(&mut given);
        let (after, after_name) = match last_event_id.map(str::parse::<Cursor>) {
            Some(Ok(cursor)) => (cursor, LAST_EVENT_ID),
            Some(Err(error)) => {
                given.problem(LAST_EVENT_ID, error.to_string());
                (Cursor::START, LAST_EVENT_ID)
            }
            None => (given.parse::<Cursor>("after").unwrap_or_default(), "after"),
        };
        given.check()?;
        Ok(Self { filter, after, after_name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::domain::event::EventType;

    const CURSOR: &str = "AQAAAAAAAAAqzcg7Ng";

    fn parse(query: &[(&str, &str)], last_event_id: Option<&str>) -> Result<Query, String> {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Query::parse(query, last_event_id).map_err(|error| error.sentences())
    }

    #[test]
    fn the_header_takes_precedence_over_the_parameter() {
        let after =
            |query: &[_], last| parse(query, last).map(|query| (query.after.to_string(), query.after_name));
        let start = Cursor::START.to_string();
        assert_eq!(after(&[], None), Ok((start.clone(), "after")));
        assert_eq!(after(&[("after", CURSOR)], None), Ok((CURSOR.to_owned(), "after")));
        let header = Ok((CURSOR.to_owned(), LAST_EVENT_ID));
        assert_eq!(after(&[("after", &start)], Some(CURSOR)), header);
        assert_eq!(after(&[("after", "x")], Some(CURSOR)), header);
    }

    #[test]
    fn filters_are_read_and_every_invalid_parameter_is_named() {
        let query = [("types", "message.received"), ("tenant_id", "t-1"), ("token", "x"), ("limit", "x")];
        let filter = Filter {
            types: vec![EventType::MessageReceived],
            tenant_id: Some("t-1".to_owned()),
            ..Filter::default()
        };
        assert_eq!(parse(&query, None).map(|query| query.filter), Ok(filter));
        let wrong = [("types", "x"), ("workflow_type", ""), ("conversation", "1"), ("after", "2")];
        let problems = "types must be event types, separated by commas: \"x\" is not an event type; \
            workflow_type is empty; conversation must be a conversation_id";
        let not_a_cursor = "is not a next_cursor of this API";
        assert_eq!(parse(&wrong, None), Err(format!("{problems}; after {not_a_cursor}")));
        assert_eq!(parse(&wrong, Some("3")), Err(format!("{problems}; Last-Event-ID {not_a_cursor}")));
    }
}
