//! Stores inbound messages with media after listing their media at Twilio.

use crate::{App, ReconcileError, Run, concerns_all, page};
use common::clock;
use common::db::inbound::NewInbound;
use common::db::reconciliation::{self, AwaitingMedia};
use common::domain::sids::MessageSid;
use common::twilio::{Media, Message, SendError};
use futures::StreamExt;
use std::time::Instant;

/// How many messages are claimed at a time.
const PAGE: usize = 20;
/// How many media lists are read concurrently.
const CONCURRENCY: usize = 4;
/// The number of attempts after which a message is stored without its media, so that its text is not lost.
const MAX_ATTEMPTS: i32 = 6;

/// Stores messages with their media until the given time. A run tries each message once.
///
/// # Errors
///
/// [`ReconcileError`] if the cause affects all messages. Otherwise a later run retries the message.
pub(crate) async fn store(run: &mut Run<'_>, until: Instant) -> Result<(), ReconcileError> {
    let app = run.app;
    loop {
        let taken =
            reconciliation::take_awaiting_media(&app.db, run.begun, clock::now(), PAGE as i64).await?;
        let is_last = taken.len() < PAGE;
        let calls = taken.into_iter().map(async |awaiting| {
            let media = app.twilio.list_media(&awaiting.twilio_sid).await;
            (awaiting, media)
        });
        let results: Vec<_> = futures::stream::iter(calls).buffer_unordered(CONCURRENCY).collect().await;
        let mut complete = Vec::new();
        let mut failure = None;
        for (awaiting, media) in results {
            match media {
                Err(error) if concerns_all(&error) => failure = Some(error),
                media => match message(app, &awaiting, media) {
                    Some(message) => complete.push(message),
                    None => run.reconciled.set_aside += 1,
                },
            }
        }
        run.reconciled.inbound_recovered += page::store(app, &complete).await?;
        let settled: Vec<&MessageSid> = complete.iter().map(|message| &message.twilio_sid).collect();
        reconciliation::media_settled(&app.db, &settled).await?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        if is_last {
            return Ok(());
        }
        if Instant::now() >= until {
            run.reconciled.unfinished = true;
            return Ok(());
        }
    }
}

/// Builds the message to store, or returns `None` if its media are to be listed again. An opt-out is stored at once.
fn message(app: &App, awaiting: &AwaitingMedia, media: Result<Vec<Media>, SendError>) -> Option<NewInbound> {
    let twilio_sid = &awaiting.twilio_sid;
    let listed = Message::from_json(&awaiting.message)?;
    let error = match media {
        Ok(media) => return Some(page::new(app, &listed, media)),
        Err(error) => error,
    };
    let message = page::new(app, &listed, Vec::new());
    let is_gone = matches!(error, SendError::Refused { status: 404, .. });
    let error = common::error::chain(&error);
    if is_gone || awaiting.tries >= MAX_ATTEMPTS || message.opt_out.is_some() {
        tracing::error!(%twilio_sid, error, "storing a message without its media");
        return Some(message);
    }
    tracing::warn!(%twilio_sid, error, "could not list the media of a message");
    None
}
