//! Starts and stops the whole stack.

mod first_run;
mod info;
mod keys;
pub(crate) mod queues;
mod start;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use self::info::{FunctionInfo, StackInfo};
pub use self::keys::{KeyError, create_key};
use self::start::Parts;
use crate::postgres::PostgresError;
use crate::schedules::ScheduleError;
use crate::settings::Settings;
use crate::template::{Template, TemplateError};

/// Why the stack could not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Another stack uses the data folder.
    #[error("another stack is running with the data folder {}: stop it first", .0.display())]
    Running(PathBuf),
    /// The template is invalid.
    #[error("template.yaml: {0}")]
    Template(#[from] TemplateError),
    /// A schedule is invalid.
    #[error("template.yaml: {0}")]
    Schedule(#[from] ScheduleError),
    /// A port is in use.
    #[error("cannot listen on 127.0.0.1:{port} ({source}): set {variable} to another port")]
    Port {
        /// The port.
        port: u16,
        /// The environment variable that sets the port.
        variable: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The source folder of a function does not exist.
    #[error("template.yaml: {function}.Properties.CodeUri: folder {code_uri} does not exist")]
    NoFolder {
        /// The function.
        function: String,
        /// The folder.
        code_uri: String,
    },
    /// Some functions of the template are not built.
    #[error("functions not built: {0}. `make run` builds all functions of the template")]
    NotBuilt(String),
    /// The embedded queues cannot be opened.
    #[error("cannot open the queue store: {0}")]
    Store(#[from] rusqlite::Error),
    /// The Twilio simulator could not start.
    #[error("cannot start the Twilio simulator: {0} (SMS_TWILIO_PORT sets its port)")]
    Simulator(#[from] twilio_simulator::StartError),
    /// The database could not start.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A queue cannot be created.
    #[error("queue {queue}: {reason}")]
    Queue {
        /// The queue's name.
        queue: String,
        /// The cause.
        reason: String,
    },
    /// A function that initializes the stack failed.
    #[error("{function}: {reason}; see target/local/logs/{function}.log")]
    FirstRun {
        /// The function.
        function: &'static str,
        /// The cause.
        reason: String,
    },
}

/// A running stack.
pub struct Stack {
    info: StackInfo,
    data: PathBuf,
    parts: Parts,
    _lock: File,
}

impl Stack {
    /// Starts everything that the template declares, and returns when the stack is ready.
    ///
    /// # Errors
    ///
    /// See [`StackError`]; the messages say how to fix the problem.
    pub async fn start(settings: &Settings) -> Result<Self, StackError> {
        let begun = Instant::now();
        std::fs::create_dir_all(&settings.data).map_err(file(&settings.data))?;
        let lock = lock(&settings.data)?;
        let info_file = StackInfo::path(&settings.data);
        if info_file.exists() {
            std::fs::remove_file(&info_file).map_err(file(&info_file))?;
        }
        let path = settings.root.join("template.yaml");
        let text = std::fs::read_to_string(&path).map_err(file(&path))?;
        let template = Template::parse(&text, &settings.region)?;
        let mut parts = Parts::default();
        let started = start::start(settings, &template, &mut parts).await;
        let ready = started.and_then(|mut info| {
            info.ready_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            info.functions =
                parts.functions.as_ref().map(|functions| info::function_infos(functions)).unwrap_or_default();
            info.write(&settings.data).map_err(file(&info_file))?;
            Ok(info)
        });
        match ready {
            Ok(info) => {
                if let Some(functions) = parts.functions.clone() {
                    parts.tasks.spawn(info.clone().keep_updated(functions, settings.data.clone()));
                }
                Ok(Self { info, data: settings.data.clone(), parts, _lock: lock })
            }
            Err(error) => {
                parts.stop().await;
                Err(error)
            }
        }
    }

    /// Returns the content of `stack.json`.
    #[must_use]
    pub fn info(&self) -> &StackInfo {
        &self.info
    }

    /// Stops everything. Queue messages in flight become visible again after their visibility timeout.
    pub async fn stop(self) {
        self.parts.stop().await;
        // The folder may have been removed already.
        let _ = std::fs::remove_file(StackInfo::path(&self.data));
    }
}

/// Locks the data folder, so that two stacks cannot use it at once. The kernel releases the lock of a killed stack.
///
/// # Errors
///
/// [`StackError::Running`] if another stack holds the lock; stop it first.
pub fn lock(data: &Path) -> Result<File, StackError> {
    let path = data.join("lock");
    let lock = File::create(&path).map_err(file(&path))?;
    lock.try_lock().map_err(|_| StackError::Running(data.to_owned()))?;
    Ok(lock)
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> StackError {
    let path = path.to_owned();
    move |source| StackError::File { path, source }
}
