//! The whole stack: started in order, stopped with nothing left behind.

mod first_run;
mod info;
mod keys;
mod queues;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use self::info::{FunctionInfo, StackInfo};
pub use self::keys::{KeyError, create_key};
use crate::gateway::Gateway;
use crate::lambda::{self, FunctionSettings, Functions};
use crate::metrics::Metrics;
use crate::pollers::Poller;
use crate::postgres::{Postgres, PostgresError};
use crate::schedules::{Schedule, ScheduleError};
use crate::settings::Settings;
use crate::sqs::Sqs;
use crate::template::{Template, TemplateError};

/// The simulated account, unless `TWILIO_ACCOUNT_SID` names another.
const ACCOUNT_SID: &str = "AC5f0e1b6c7d8e9fa0b1c2d3e4f5061728";
/// Its auth token, unless `TWILIO_AUTH_TOKEN` does.
const AUTH_TOKEN: &str = "4c0d7a1e5b2f9c8d3e6a7b8c9d0e1f2a";
/// Its number, unless `TWILIO_PHONE_NUMBER` does: one of those that are never assigned.
const PHONE_NUMBER: &str = "+12025550100";

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
    /// Functions of the template that are not built.
    #[error("not built: {0}. `make run` builds every function that the template names")]
    NotBuilt(String),
    /// The embedded queues cannot be opened.
    #[error("the queues' store cannot be opened: {0}")]
    Store(#[from] rusqlite::Error),
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
#[derive(Debug)]
pub struct Stack {
    info: StackInfo,
    data: PathBuf,
    tasks: JoinSet<()>,
    functions: Arc<Functions>,
    postgres: Option<Postgres>,
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
        check_built(&template, settings)?;
        let mut starting = Starting::new(settings).await?;
        let postgres = starting.database(settings).await?;
        let stack = starting.run(settings, &template, postgres.as_ref()).await;
        match stack {
            Ok((mut info, tasks, functions)) => {
                info.ready_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                info.functions = info::function_infos(&functions);
                info.write(&settings.data).map_err(file(&info_file))?;
                let data = settings.data.clone();
                let mut stack = Self { info, data, tasks, functions, postgres, _lock: lock };
                stack.tasks.spawn(stack.info.clone().keep(stack.functions.clone(), stack.data.clone()));
                Ok(stack)
            }
            Err(error) => {
                if let Some(postgres) = postgres {
                    postgres.stop().await;
                }
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
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.functions.stop().await;
        if let Some(postgres) = self.postgres {
            postgres.stop().await;
        }
        // It may be gone already, with the whole folder.
        let _ = std::fs::remove_file(StackInfo::path(&self.data));
    }
}

/// The listeners, bound before anything slow so that a taken port is told at once.
struct Starting {
    door: TcpListener,
    aws: TcpListener,
    port: u16,
    aws_url: String,
    database_url: Option<String>,
    tasks: JoinSet<()>,
}

impl Starting {
    async fn new(settings: &Settings) -> Result<Self, StackError> {
        let (door, port) = bind(settings.port, "SMS_PORT").await?;
        let (aws, aws_port) = bind(0, "nothing").await?;
        Ok(Self {
            door,
            aws,
            port,
            aws_url: format!("http://127.0.0.1:{aws_port}"),
            database_url: (settings.overrides)("DATABASE_URL"),
            tasks: JoinSet::new(),
        })
    }

    async fn database(&mut self, settings: &Settings) -> Result<Option<Postgres>, StackError> {
        if self.database_url.is_some() {
            return Ok(None);
        }
        let log = settings.data.join("postgres.log");
        let postgres = Postgres::start(&settings.data.join("postgres"), &log).await?;
        self.database_url = Some(postgres.url().to_owned());
        Ok(Some(postgres))
    }

    async fn run(
        mut self,
        settings: &Settings,
        template: &Template,
        postgres: Option<&Postgres>,
    ) -> Result<(StackInfo, JoinSet<()>, Arc<Functions>), StackError> {
        let late = Arc::new(OnceLock::new());
        let sqs = Sqs::open(&settings.data.join("queues.sqlite"), &self.aws_url, &settings.region)?;
        let router = Arc::new(sqs).router().merge(lambda::router(late.clone()));
        let aws = self.aws;
        self.tasks.spawn(async move {
            // It ends with the task; there is nobody to tell.
            let _ = axum::serve(aws, router).await;
        });
        let sqs_url = (settings.overrides)("AWS_ENDPOINT_URL_SQS").unwrap_or_else(|| self.aws_url.clone());
        let client = queues::client(&sqs_url, settings);
        let queue_urls = queues::create(&client, &template.queues).await?;
        let own_base = format!("http://127.0.0.1:{}", self.port);
        let mut info = info(settings, &own_base, self.database_url.unwrap_or_default());
        info.aws_endpoint_url = self.aws_url;
        info.queues = queue_urls;
        let metrics = Arc::new(Metrics::default());
        let functions = Arc::new(functions(settings, template, &info, &sqs_url, &metrics)?);
        // Nobody else sets it.
        let _ = late.set(functions.clone());
        let gateway = Gateway::new(template, functions.clone(), metrics, self.port);
        let service = gateway.router().into_make_service_with_connect_info::<SocketAddr>();
        let door = self.door;
        self.tasks.spawn(async move {
            let _ = axum::serve(door, service).await;
        });
        first_run::migrate(&functions, &info.database_url).await?;
        let key_file =
            postgres.and_then(|postgres| postgres.data().parent()).map(|folder| folder.join("api-key"));
        info.api_key = first_run::api_key(&functions, key_file.as_deref()).await?;
        for spec in &template.mappings {
            let poller = Poller {
                queue_url: info.queues.get(&spec.queue).cloned().unwrap_or_default(),
                spec: spec.clone(),
                client: client.clone(),
                functions: functions.clone(),
                region: settings.region.clone(),
            };
            self.tasks.spawn(poller.run());
        }
        for spec in &template.schedules {
            let retries = template.function(&spec.function).map_or(0, |function| function.async_retries);
            let schedule = Schedule::new(spec.clone(), settings.schedule_tick, retries, &settings.region)?;
            self.tasks.spawn(schedule.run(functions.clone()));
        }
        Ok((info, self.tasks, functions))
    }
}

async fn bind(port: u16, variable: &'static str) -> Result<(TcpListener, u16), StackError> {
    let failed = |source| StackError::Port { port, variable, source };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
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

fn check_built(template: &Template, settings: &Settings) -> Result<(), StackError> {
    let missing =
        template.functions.iter().filter(|function| !settings.binaries.join(&function.binary).exists());
    let missing: Vec<_> = missing.map(|function| function.binary.as_str()).collect();
    if missing.is_empty() { Ok(()) } else { Err(StackError::NotBuilt(missing.join(", "))) }
}

/// The stack's addresses and credentials, each from the environment or embedded.
fn info(settings: &Settings, own_base: &str, database_url: String) -> StackInfo {
    let set = |name: &str, embedded: &str| (settings.overrides)(name).unwrap_or_else(|| embedded.to_owned());
    let webhook_bases = set("PUBLIC_WEBHOOK_BASE_URL", own_base);
    let auth_tokens = set("TWILIO_AUTH_TOKEN", AUTH_TOKEN);
    let first = |list: &str| list.split(',').next().unwrap_or_default().trim().to_owned();
    StackInfo {
        api_url: own_base.to_owned(),
        webhook_base_url: first(&webhook_bases),
        twilio_api_url: set("TWILIO_API_BASE_URL", &format!("http://127.0.0.1:{}", settings.twilio_port)),
        account_sid: set("TWILIO_ACCOUNT_SID", ACCOUNT_SID),
        auth_token: first(&auth_tokens),
        phone_number: first(&set("TWILIO_PHONE_NUMBER", PHONE_NUMBER)),
        api_key: None,
        database_url,
        aws_endpoint_url: String::new(),
        queues: BTreeMap::new(),
        functions: BTreeMap::new(),
        ready_ms: 0,
    }
}

/// Every function with its variables: set in the environment, embedded, or the template's.
fn functions(
    settings: &Settings,
    template: &Template,
    info: &StackInfo,
    sqs_url: &str,
    metrics: &Arc<Metrics>,
) -> Result<Functions, StackError> {
    let embedded = [
        ("DATABASE_URL", &info.database_url),
        ("PUBLIC_WEBHOOK_BASE_URL", &info.webhook_base_url),
        ("TWILIO_ACCOUNT_SID", &info.account_sid),
        ("TWILIO_API_BASE_URL", &info.twilio_api_url),
        ("TWILIO_AUTH_TOKEN", &info.auth_token),
        ("TWILIO_PHONE_NUMBER", &info.phone_number),
    ];
    let embedded = embedded.map(|(name, value)| (name.to_owned(), value.clone())).into();
    let runtime = template.queues.iter().filter_map(|queue| {
        let url = info.queues.get(&queue.name)?;
        Some([
            (queue.logical_id.clone(), url.clone()),
            (format!("{}.QueueUrl", queue.logical_id), url.clone()),
        ])
    });
    let mut runtime: BTreeMap<String, String> = runtime.flatten().collect();
    for function in &template.functions {
        runtime
            .insert(format!("{}Url.FunctionUrl", function.logical_id), format!("{}/", info.webhook_base_url));
    }
    let mut specs = Vec::new();
    for function in &template.functions {
        let mut environment = template.environment(function, settings.overrides, &embedded, &runtime)?;
        environment.insert("AWS_ENDPOINT_URL_SQS".to_owned(), sqs_url.to_owned());
        specs.push((function.clone(), environment));
    }
    let function_settings = FunctionSettings {
        binaries: settings.binaries.clone(),
        logs: settings.data.join("logs"),
        region: settings.region.clone(),
        max_processes: settings.max_processes,
        echo: settings.echo,
    };
    Functions::new(specs, &function_settings, metrics).map_err(file(&function_settings.logs))
}
