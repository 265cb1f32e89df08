//! Inbound messages with media, which are recorded once Twilio has listed those.

use crate::{ReconcileError, Run, concerns_all, page};
use common::clock;
use common::db::inbound::NewInbound;
use common::db::reconciliation::{self, AwaitingMedia};
use common::twilio::{Media, Message, SendError};
use futures::StreamExt;
use std::time::Instant;

/// How many messages are taken between two looks at the clock.
const PAGE: usize = 20;
/// How many lists of media are read at a time.
const AT_ONCE: usize = 4;
/// After how many tries a message is stored without its media: its text matters more.
const MAX_TRIES: i32 = 6;

/// Stores the messages whose media Twilio lists, until a time. Each is tried once in a run.
///
/// # Errors
///
/// [`ReconcileError`]. A message whose media can't be listed is no error, unless it is the same for all.
pub(crate) async fn store(run: &mut Run<'_>, until: Instant) -> Result<(), ReconcileError> {
    let app = run.app;
    loop {
        let taken =
            reconciliation::take_awaiting_media(&app.db, run.begun, clock::now(), PAGE as i64).await?;
        let is_last = taken.len() < PAGE;
        let calls = taken.into_iter().map(async |awaiting| {
            let media = app.twilio.media_of(&awaiting.twilio_sid).await;
            (awaiting, media)
        });
        let answers: Vec<_> = futures::stream::iter(calls).buffer_unordered(AT_ONCE).collect().await;
        let mut complete = Vec::new();
        let mut failure = None;
        for (awaiting, media) in answers {
            match media {
                Err(error) if concerns_all(&error) => failure = Some(error),
                media => match message(&awaiting, media) {
                    Some(message) => complete.push(message),
                    None => run.reconciled.set_aside += 1,
                },
            }
        }
        run.reconciled.inbound_recovered += page::store(app, &complete).await?;
        let settled: Vec<&str> = complete.iter().map(|message| message.twilio_sid.as_str()).collect();
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

/// Makes the message to be stored, or `None` if its media are to be listed again. An opt-out does not wait for them.
fn message(awaiting: &AwaitingMedia, media: Result<Vec<Media>, SendError>) -> Option<NewInbound> {
    let twilio_sid = awaiting.twilio_sid.as_str();
    let listed = Message::from_json(&awaiting.message)?;
    let error = match media {
        Ok(media) => return Some(page::new(&listed, media)),
        Err(error) => error,
    };
    let message = page::new(&listed, Vec::new());
    let is_gone = matches!(error, SendError::Refused { status: 404, .. });
    let error = common::error::chain(&error);
    if is_gone || awaiting.tries >= MAX_TRIES || message.opt_out.is_some() {
        tracing::error!(
            twilio_sid,
            error,
            "a message is stored without its media, which Twilio does not list"
        );
        return Some(message);
    }
    tracing::warn!(twilio_sid, error, "the media of a message can't be listed");
    None
}
