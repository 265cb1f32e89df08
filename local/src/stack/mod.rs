//! The whole stack: started in order, stopped with nothing left behind.

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
use crate::twilio;

/// Why the stack does not run.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A file of the stack cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another stack has the folder.
    #[error("a stack is running with its data in {}: stop it first", .0.display())]
    Running(PathBuf),
    /// The template is wrong.
    #[error("template.yaml: {0}")]
    Template(#[from] TemplateError),
    /// A schedule is wrong.
    #[error("template.yaml: {0}")]
    Schedule(#[from] ScheduleError),
    /// A port is taken.
    #[error("cannot listen on 127.0.0.1:{port} ({source}): set {variable} to another port")]
    Port {
        /// The port.
        port: u16,
        /// The variable that changes it.
        variable: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A function whose sources are not where the template says.
    #[error("template.yaml: {function}.Properties.CodeUri: there is no folder {code_uri}")]
    NoFolder {
        /// The function.
        function: String,
        /// The folder.
        code_uri: String,
    },
    /// Functions of the template that are not built.
    #[error("not built: {0}. `make run` builds every function that the template names")]
    NotBuilt(String),
    /// The embedded queues cannot be opened.
    #[error("the queues' store cannot be opened: {0}")]
    Store(#[from] rusqlite::Error),
    /// The Twilio simulator does not start.
    #[error("the Twilio simulator: {0} (its port is SMS_TWILIO_PORT)")]
    Simulator(#[from] twilio::StartError),
    /// There is no database.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A queue cannot be made.
    #[error("queue {queue}: {reason}")]
    Queue {
        /// The queue's name.
        queue: String,
        /// Why.
        reason: String,
    },
    /// A function that the start needs failed.
    #[error("{function}: {reason}; its log is {function}.log in target/local/logs")]
    FirstRun {
        /// The function.
        function: &'static str,
        /// Why.
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
    /// Starts everything that the template declares, and returns when it serves.
    ///
    /// # Errors
    ///
    /// As [`StackError`] says, in words for the person who typed the command.
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
                    parts.tasks.spawn(info.clone().keep(functions, settings.data.clone()));
                }
                Ok(Self { info, data: settings.data.clone(), parts, _lock: lock })
            }
            Err(error) => {
                parts.stop().await;
                Err(error)
            }
        }
    }

    /// What is written to `stack.json`.
    #[must_use]
    pub fn info(&self) -> &StackInfo {
        &self.info
    }

    /// Stops everything. Messages that were being worked on come back after their visibility timeout.
    pub async fn stop(self) {
        self.parts.stop().await;
        // It may be gone already, with the whole folder.
        let _ = std::fs::remove_file(StackInfo::path(&self.data));
    }
}

/// Two stacks in one folder would take each other's data; a stack that was killed holds no lock.
///
/// # Errors
///
/// [`StackError::Running`] if there is one.
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
