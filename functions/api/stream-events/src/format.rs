//! The text of a stream: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use common::service::events::{Cursor, Event};
use serde::Deserialize;
use std::time::Duration;

/// A comment that shows that the stream is alive. It has no empty line after it, which some clients take for an event.
pub(crate) const HEARTBEAT: &str = ": heartbeat\n";

#[derive(Deserialize)]
struct Typed<'a> {
    r#type: &'a str,
}

/// Returns the line that tells the client when to connect again.
pub(crate) fn retry(after: Duration) -> String {
    format!("retry: {}\n", after.as_millis())
}

/// Returns an event, with its body unchanged.
///
/// # Errors
///
/// When the body is not the JSON of an event.
pub(crate) fn event(event: &Event) -> Result<String, serde_json::Error> {
    let Typed { r#type } = serde_json::from_str(&event.body)?;
    let mut text = format!("id: {}\nevent: {type}\n", event.cursor);
    // A line feed inside the body, which JSON allows between values, begins another field. The client joins them again.
    for line in event.body.split('\n') {
        text.extend(["data: ", line, "\n"]);
    }
    text.push('\n');
    Ok(text)
}

/// Returns a block that moves the client's last id without an event: clients dispatch no event without data.
pub(crate) fn progress(cursor: Cursor) -> String {
    format!("id: {cursor}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_cursor_its_type_and_its_exact_body() {
        let of = |body: &str| event(&Event { cursor: Cursor::START, body: body.to_owned() });
        let body = r#"{"id":"1",  "type":"message.status","data":{"a":"\n: x","b":1.50}}"#;
        let id = Cursor::START;
        assert_eq!(of(body).unwrap(), format!("id: {id}\nevent: message.status\ndata: {body}\n\n"));
        let lines = "{\"type\":\"a\",\n\"data\":{}}";
        let expected = format!("id: {id}\nevent: a\ndata: {{\"type\":\"a\",\ndata: \"data\":{{}}}}\n\n");
        assert_eq!(of(lines).unwrap(), expected);
        assert!(of("{}").is_err());
    }
}
