//! Streamed responses of functions, and the format of Server-Sent Events.

use super::TIMEOUT;
use serde_json::Value;
use tokio::sync::mpsc;

/// What a function sent.
#[derive(Debug)]
pub(crate) enum Part {
    Chunk(Vec<u8>),
    End,
}

/// A streamed response, read while the function writes it. If it is dropped, the function continues, as on Lambda.
#[derive(Debug)]
pub struct Streamed {
    /// The status and the headers, as in a buffered response.
    pub head: Value,
    parts: mpsc::UnboundedReceiver<Part>,
}

impl Streamed {
    pub(crate) fn new(head: Value, parts: mpsc::UnboundedReceiver<Part>) -> Self {
        Self { head, parts }
    }

    /// Returns the next chunk, or `None` at the end.
    ///
    /// # Errors
    ///
    /// When the function was stopped in the middle of its response.
    ///
    /// # Panics
    ///
    /// If nothing arrives within two minutes.
    pub async fn next(&mut self) -> Result<Option<String>, String> {
        match tokio::time::timeout(TIMEOUT, self.parts.recv()).await.expect("a chunk in time") {
            Some(Part::Chunk(chunk)) => Ok(Some(String::from_utf8(chunk).expect("UTF-8"))),
            Some(Part::End) => Ok(None),
            None => Err("the stream was cut off".to_owned()),
        }
    }

    /// Reads the response to its end and returns it in the form of a buffered one.
    ///
    /// # Panics
    ///
    /// If it is cut off.
    pub async fn whole(mut self) -> Value {
        let mut body = String::new();
        while let Some(chunk) = self.next().await.expect("a complete stream") {
            body += &chunk;
        }
        self.head["body"] = body.into();
        self.head
    }
}

/// The function's end of a stream.
pub(crate) mod copy {
    use super::Part;
    use axum::body::{Body, BodyDataStream};
    use futures::StreamExt;
    use serde_json::Value;
    use tokio::sync::mpsc::UnboundedSender;

    /// Separates the status and the headers from the body.
    const DELIMITER: [u8; 8] = [0; 8];

    /// Reads the status and the headers, and returns them with the rest and its first bytes.
    pub(crate) async fn prelude(body: Body) -> (Value, (Vec<u8>, BodyDataStream)) {
        let (mut body, mut read) = (body.into_data_stream(), Vec::new());
        loop {
            if let Some(end) = read.windows(DELIMITER.len()).position(|window| window == DELIMITER) {
                let rest = read.split_off(end + DELIMITER.len());
                let head = serde_json::from_slice(&read[..end]).expect("JSON before the delimiter");
                return (head, (rest, body));
            }
            read.extend(body.next().await.expect("a delimiter").expect("a chunk"));
        }
    }

    /// Copies the rest. An error, when the function was stopped, closes the channel without an end.
    pub(crate) async fn body((first, mut rest): (Vec<u8>, BodyDataStream), writer: UnboundedSender<Part>) {
        if !first.is_empty() {
            let _ = writer.send(Part::Chunk(first));
        }
        while let Some(chunk) = rest.next().await {
            let Ok(chunk) = chunk else { return };
            let _ = writer.send(Part::Chunk(chunk.to_vec()));
        }
        let _ = writer.send(Part::End);
    }
}

/// An event of a stream, as a browser dispatches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSentEvent {
    /// The id after which the client resumes.
    pub id: String,
    /// Its type.
    pub of: String,
    /// Its data.
    pub data: String,
}

/// A client of Server-Sent Events. It follows "Interpreting an event stream" of the HTML standard.
#[derive(Debug, Default)]
pub struct SseClient {
    /// The dispatched events.
    pub events: Vec<ServerSentEvent>,
    /// The id that it would send as `Last-Event-ID`.
    pub last_event_id: String,
    /// The time to wait before it connects again, in milliseconds.
    pub retry: Option<u64>,
    /// How many comments it has received.
    pub comments: usize,
    buffer: String,
    id: String,
    of: String,
    data: String,
}

impl SseClient {
    /// Processes a chunk, which may end anywhere.
    pub fn push(&mut self, chunk: &str) {
        self.buffer += chunk;
        while let Some((line, rest)) = self.buffer.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.buffer = rest;
            self.line(&line);
        }
    }

    /// Forgets an incomplete event, as at the end of a connection.
    pub fn disconnect(&mut self) {
        self.buffer.clear();
        self.of.clear();
        self.data.clear();
        self.id.clone_from(&self.last_event_id);
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments += 1,
            "event" => value.clone_into(&mut self.of),
            "data" => self.data.extend([value, "\n"]),
            "id" => value.clone_into(&mut self.id),
            "retry" => self.retry = value.parse().ok(),
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        self.last_event_id.clone_from(&self.id);
        let (of, data) = (std::mem::take(&mut self.of), std::mem::take(&mut self.data));
        if let Some(data) = data.strip_suffix('\n') {
            let of = if of.is_empty() { "message".to_owned() } else { of };
            self.events.push(ServerSentEvent { id: self.id.clone(), of, data: data.to_owned() });
        }
    }
}
