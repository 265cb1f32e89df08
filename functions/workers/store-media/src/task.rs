//! What is done for one file.

use crate::App;
use bytes::Bytes;
use common::clock;
use common::db::DbError;
use common::db::media::{self, ClaimedFile, StoredFile};
use common::domain::media::{FileType, MediaStatus, UnsupportedType};
use common::error::chain;
use common::service::media::object_key;
use common::storage::StorageError;
use common::twilio::{MediaError, MediaRetry};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The code of a file that was attempted for the last time.
const EXHAUSTED: &str = "retries_exhausted";

/// What was done.
#[derive(Debug)]
pub(crate) enum Done {
    /// The file is stored.
    Stored { content_type: &'static str, size: usize },
    /// The file is not stored and is not attempted again.
    Failed { code: &'static str, error: String },
    /// The file is attempted again.
    Deferred { error: String },
    /// The file was deleted at Twilio.
    DeletedAtTwilio,
    /// The file is stored and stays at Twilio, because it could not be deleted there.
    Kept { error: String },
    /// The file is erased, and its object was deleted.
    Removed,
}

/// The file could not be copied.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Twilio(#[from] MediaError),
    #[error(transparent)]
    Type(#[from] UnsupportedType),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl CopyError {
    /// Returns the code of a file that fails because of this, or `None` if another attempt may succeed.
    fn final_code(&self, is_new: bool) -> Option<&'static str> {
        match self {
            Self::Type(_) => Some("unsupported_type"),
            Self::Storage(_) => None,
            Self::Twilio(error) => match error.retry() {
                MediaRetry::Never => Some(error.code()),
                MediaRetry::WhileNew => (!is_new).then(|| error.code()),
                MediaRetry::Later => None,
            },
        }
    }
}

/// Does what is due for a claimed file.
///
/// # Errors
///
/// [`DbError`]: the file is due again when the claim ends.
pub(crate) async fn run(app: &App, file: &ClaimedFile) -> Result<Done, DbError> {
    if file.is_erased {
        return remove(app, file).await;
    }
    match file.status {
        MediaStatus::Pending => copy(app, file).await,
        // A failed file has nothing due.
        MediaStatus::Stored | MediaStatus::Failed => delete_at_twilio(app, file).await,
    }
}

async fn copy(app: &App, file: &ClaimedFile) -> Result<Done, DbError> {
    // The last worker has died with the file, and maybe because of it.
    if delay_index(file) > app.policy.retry_delays.len() {
        return end(app, file, EXHAUSTED, "the function ended during the last attempt".to_owned()).await;
    }
    match write(app, file).await {
        Ok((bytes, file_type)) => mark(app, file, &bytes, file_type).await,
        Err(error) => {
            let is_new = clock::now() < file.created_at + app.policy.not_found;
            let text = chain(&error);
            match (error.final_code(is_new), next(app, file)) {
                (Some(code), _) => end(app, file, code, text).await,
                (None, Some(next)) => {
                    media::end_attempt(&app.db, file.id, Some(&text), Some(next)).await?;
                    Ok(Done::Deferred { error: text })
                }
                (None, None) => end(app, file, EXHAUSTED, text).await,
            }
        }
    }
}

/// Fetches a file and writes its object, which replaces that of an earlier attempt.
async fn write(app: &App, file: &ClaimedFile) -> Result<(Bytes, FileType), CopyError> {
    let bytes = app.twilio.fetch(&file.url).await?;
    let file_type = FileType::detect(&bytes)?;
    app.storage.put(&object_key(file.id), bytes.clone(), file_type.content_type).await?;
    Ok((bytes, file_type))
}

/// Marks a file as stored after its object was written. Deletes the object if the content was erased meanwhile.
async fn mark(app: &App, file: &ClaimedFile, bytes: &Bytes, file_type: FileType) -> Result<Done, DbError> {
    let sha256 = hex::encode(Sha256::digest(bytes));
    let now = clock::now();
    let stored = StoredFile {
        id: file.id,
        file_type,
        size: i32::try_from(bytes.len()).unwrap_or(i32::MAX),
        sha256: &sha256,
        delete_at: app.policy.delete_at_twilio.then_some(now),
    };
    if media::store(&app.db, &stored, now).await? {
        return Ok(Done::Stored { content_type: file_type.content_type, size: bytes.len() });
    }
    remove(app, file).await
}

/// Deletes the object of an erased file, and the row.
async fn remove(app: &App, file: &ClaimedFile) -> Result<Done, DbError> {
    if let Err(error) = app.storage.delete(&object_key(file.id)).await {
        // The row is due again when the claim ends, without a limit: erased content must not stay.
        return Ok(Done::Deferred { error: chain(&error) });
    }
    media::remove(&app.db, file.id).await?;
    Ok(Done::Removed)
}

/// Deletes a stored file at Twilio.
async fn delete_at_twilio(app: &App, file: &ClaimedFile) -> Result<Done, DbError> {
    let Err(error) = app.twilio.delete(&file.url).await else {
        media::end_attempt(&app.db, file.id, None, None).await?;
        return Ok(Done::DeletedAtTwilio);
    };
    let text = chain(&error);
    let next = next(app, file).filter(|_| error.retry() != MediaRetry::Never);
    media::end_attempt(&app.db, file.id, Some(&text), next).await?;
    Ok(if next.is_some() { Done::Deferred { error: text } } else { Done::Kept { error: text } })
}

async fn end(app: &App, file: &ClaimedFile, code: &'static str, error: String) -> Result<Done, DbError> {
    media::end_attempt(&app.db, file.id, Some(&format!("{code}: {error}")), None).await?;
    Ok(Done::Failed { code, error })
}

/// Returns when the next attempt is due, or `None` after the last one.
fn next(app: &App, file: &ClaimedFile) -> Option<Timestamp> {
    app.policy.retry_delays.get(delay_index(file)).map(|delay| clock::now() + *delay)
}

/// Returns the position of the delay after this attempt: the number of attempts before it.
fn delay_index(file: &ClaimedFile) -> usize {
    usize::try_from(file.attempts - 1).unwrap_or(0)
}
