//! Responses that a function writes while the caller reads them.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::MAX_PAYLOAD_BYTES;

/// How many chunks wait for a slow caller before the function has to wait.
const CHUNKS: usize = 16;

/// A part of a streamed response. The end is explicit: a stream without it was cut off.
#[derive(Debug)]
enum Part {
    Chunk(Bytes),
    End,
}

/// The function's end of a stream.
#[derive(Debug)]
pub(super) struct StreamWriter(mpsc::Sender<Part>);

/// The body of a streamed response.
#[derive(Debug)]
pub struct StreamBody(mpsc::Receiver<Part>);

/// The function failed before the end of its response.
#[derive(Debug, thiserror::Error)]
#[error("the function ended in the middle of its response")]
pub struct CutOff;

pub(super) fn channel() -> (StreamWriter, StreamBody) {
    let (writer, reader) = mpsc::channel(CHUNKS);
    (StreamWriter(writer), StreamBody(reader))
}

/// Copies a function's response until its end. Returns false if it was cut off.
///
/// If the caller is gone, the rest is read and discarded: Lambda does not interrupt the function either.
pub(super) async fn copy(body: Body, StreamWriter(writer): StreamWriter) -> bool {
    let mut body = body.into_data_stream();
    while let Some(chunk) = body.next().await {
        let Ok(chunk) = chunk else { return false };
        let _ = writer.send(Part::Chunk(chunk)).await;
    }
    let _ = writer.send(Part::End).await;
    true
}

impl StreamBody {
    /// Returns the next chunk, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`CutOff`] when the function failed before the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CutOff> {
        match self.0.recv().await {
            Some(Part::Chunk(chunk)) => Ok(Some(chunk)),
            Some(Part::End) => Ok(None),
            None => Err(CutOff),
        }
    }

    /// Returns the whole body.
    ///
    /// # Errors
    ///
    /// [`CutOff`] when the function failed before the end, or its response is larger than a buffered one may be.
    pub(crate) async fn collect(mut self) -> Result<Bytes, CutOff> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            if whole.len() + chunk.len() > MAX_PAYLOAD_BYTES {
                return Err(CutOff);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}
