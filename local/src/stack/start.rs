//! Starts the parts of the stack in the order of their dependencies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aws_sdk_sqs::Client;
use axum::{Router, middleware};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{StackError, StackInfo, file, first_run, queues};
use crate::gateway::Gateway;
use crate::lambda::{self, FunctionSettings, Functions, credential};
use crate::metrics::Metrics;
use crate::monitor::StandIn;
use crate::pollers::Poller;
use crate::postgres::Postgres;
use crate::schedules::Schedule;
use crate::secrets::{self, SecretsManager};
use crate::settings::Settings;
use crate::sqs::Sqs;
use crate::template::{FunctionSpec, Template};
use s3_server::S3Server;
use twilio_simulator::{Simulator, SimulatorConfig};

/// Account SID of the simulated account; `TWILIO_ACCOUNT_SID` overrides it.
const ACCOUNT_SID: &str = "AC5f0e1b6c7d8e9fa0b1c2d3e4f5061728";
/// Auth token of the simulated account; `TWILIO_AUTH_TOKEN` overrides it.
const AUTH_TOKEN: &str = "4c0d7a1e5b2f9c8d3e6a7b8c9d0e1f2a";
/// Number of the simulated account, from the range reserved for fiction; `TWILIO_PHONE_NUMBER` overrides it.
const PHONE_NUMBER: &str = "+12025550100";

/// The function that receives inbound messages from Twilio.
const INBOUND_FUNCTION: &str = "inbound-sms";
/// Connection overrides in the webhook URL: Twilio retries five times after any error.
const WEBHOOK_RETRIES: &str = "#rc=5&rp=all";

/// The running parts, which must be stopped.
#[derive(Default)]
pub(super) struct Parts {
    pub tasks: JoinSet<()>,
    pub functions: Option<Arc<Functions>>,
    simulator: Option<Simulator>,
    postgres: Option<Postgres>,
    s3: Option<S3Server>,
}

impl Parts {
    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
        if let Some(functions) = self.functions {
            functions.stop().await;
        }
        if let Some(simulator) = self.simulator {
            simulator.shutdown().await;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await;
        }
        drop(self.s3);
    }
}

/// Starts all parts. `parts` holds what has been started, even if a later part fails.
pub(super) async fn start(
    settings: &Settings,
    template: &Template,
    parts: &mut Parts,
) -> Result<StackInfo, StackError> {
    check_built(template, settings)?;
    // Bind first, so that a port conflict is reported immediately.
    let (gateway, port) = bind(settings.port, "SMS_PORT").await?;
    let (aws, aws_port) = bind(0, "SMS_PORT").await?;
    let mut info = info(settings, &format!("http://127.0.0.1:{port}"));
    info.aws_endpoint_url = format!("http://127.0.0.1:{aws_port}");
    if (settings.overrides)("TWILIO_API_BASE_URL").is_none() {
        let simulator = Simulator::start(simulator_config(settings, template, &info)).await?;
        info.twilio_api_url = simulator.url().to_owned();
        parts.simulator = Some(simulator);
    }
    let profiles_url = start_monitor(settings, &mut info, parts).await?;
    let mut key_file = None;
    if info.database_url.is_empty() {
        let postgres =
            Postgres::start(&settings.data.join("postgres"), &settings.data.join("postgres.log")).await?;
        info.database_url = postgres.url().to_owned();
        key_file = postgres.data().parent().map(|folder| folder.join("api-key"));
        parts.postgres = Some(postgres);
    }
    let late = Arc::new(OnceLock::new());
    let sqs = Sqs::open(&settings.data.join("queues.sqlite"), &info.aws_endpoint_url, &settings.region)?;
    let sqs = Arc::new(sqs);
    let secrets = Arc::new(SecretsManager::new(&settings.region));
    let services = sqs.clone().router().merge(lambda::router(late.clone()));
    serve(parts, aws, services.layer(middleware::from_fn_with_state(secrets.clone(), secrets::intercept)));
    let secrets = Secrets::store(&secrets, settings, &info);
    let sqs_url =
        (settings.overrides)("AWS_ENDPOINT_URL_SQS").unwrap_or_else(|| info.aws_endpoint_url.clone());
    let client = queues::client(&sqs_url, settings);
    info.queues = queues::create(&client, &template.queues).await?;
    let s3_url = start_s3(settings, template, parts).await?;
    let endpoints = Endpoints { profiles: &profiles_url, sqs: &sqs_url, s3: &s3_url, secrets };
    let metrics = Arc::new(Metrics::default());
    metrics.watch_queues(sqs);
    let functions = Arc::new(functions(settings, template, &info, &endpoints, &metrics)?);
    parts.functions = Some(functions.clone());
    // Set only here, so it cannot be set already.
    let _ = late.set(functions.clone());
    serve(parts, gateway, Gateway::new(template, functions.clone(), metrics, port).router());
    first_run::migrate(&functions, &info.database_url).await?;
    info.api_key = first_run::api_key(&functions, key_file.as_deref()).await?;
    start_triggers(settings, template, &info, &client, &functions, &mut parts.tasks)?;
    Ok(info)
}

/// Starts the Monitor stand-in, unless URLs of both real services are configured. Returns the URL of the profile
/// service.
async fn start_monitor(
    settings: &Settings,
    info: &mut StackInfo,
    parts: &mut Parts,
) -> Result<String, StackError> {
    let profiles = (settings.overrides)("TENANT_PROFILE_API_URL");
    if let Some(profiles) = &profiles
        && !info.monitor_api_url.is_empty()
    {
        return Ok(profiles.clone());
    }
    let port = settings.monitor_port;
    let failed =
        |source| StackError::Port { port: port.unwrap_or_default(), variable: "SMS_MONITOR_PORT", source };
    let stand_in = StandIn::bind(port, settings.data.join("tenants.json")).await.map_err(failed)?;
    let url = stand_in.url().to_owned();
    parts.tasks.spawn(stand_in.serve());
    if info.monitor_api_url.is_empty() {
        info.monitor_api_url.clone_from(&url);
    }
    Ok(profiles.unwrap_or(url))
}

/// Starts the S3 server with the template's buckets, unless the URL of another one is configured. Returns its URL.
async fn start_s3(settings: &Settings, template: &Template, parts: &mut Parts) -> Result<String, StackError> {
    if let Some(url) = (settings.overrides)("AWS_ENDPOINT_URL_S3") {
        return Ok(url);
    }
    let folder = settings.data.join("s3");
    let (key, secret) = (credential("AWS_ACCESS_KEY_ID"), credential("AWS_SECRET_ACCESS_KEY"));
    let server = S3Server::start(&folder, &key, &secret).await.map_err(file(&folder))?;
    for id in &template.buckets {
        server.create_bucket(&bucket_name(id)).map_err(file(&folder))?;
    }
    let url = server.url().to_owned();
    parts.s3 = Some(server);
    Ok(url)
}

/// Returns the name of a bucket: the logical ID in lower case, as S3 requires.
fn bucket_name(logical_id: &str) -> String {
    logical_id.to_ascii_lowercase()
}

fn start_triggers(
    settings: &Settings,
    template: &Template,
    info: &StackInfo,
    client: &Client,
    functions: &Arc<Functions>,
    tasks: &mut JoinSet<()>,
) -> Result<(), StackError> {
    let queues: Arc<[_]> = template.queues.clone().into();
    for spec in &template.mappings {
        let poller = Poller {
            queues: queues.clone(),
            queue_url: info.queues.get(&spec.queue).cloned().unwrap_or_default(),
            spec: spec.clone(),
            client: client.clone(),
            functions: functions.clone(),
            region: settings.region.clone(),
        };
        tasks.spawn(poller.run());
    }
    for spec in &template.schedules {
        let function = template.function(&spec.function);
        let schedule = Schedule::new(spec.clone(), settings.schedule_tick, function, &settings.region)?;
        tasks.spawn(schedule.run(functions.clone()));
    }
    Ok(())
}

fn serve(parts: &mut Parts, listener: TcpListener, router: Router) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    parts.tasks.spawn(async move {
        // The server ends with the task; errors cannot be reported.
        let _ = axum::serve(listener, service).await;
    });
}

/// Returns the simulator's configuration: the account in `info`, with the template's webhook for inbound messages.
fn simulator_config(settings: &Settings, template: &Template, info: &StackInfo) -> SimulatorConfig {
    let webhook = template.function_urls.iter().find(|url| url.function == INBOUND_FUNCTION);
    let webhook = webhook.map_or("/", |url| url.path.as_str());
    let webhook = format!("{}{webhook}{WEBHOOK_RETRIES}", info.webhook_base_url.trim_end_matches('/'));
    let set = |name: &str, default: &str| (settings.overrides)(name).unwrap_or_else(|| default.to_owned());
    let list = |text: String| text.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>();
    let mut config = SimulatorConfig::new(info.account_sid.clone(), info.auth_token.clone());
    config.port = settings.twilio_port;
    config.sender_queue = settings.twilio_queue;
    config.smart_encoding = settings.twilio_smart_encoding;
    config.auth_tokens = list(set("TWILIO_AUTH_TOKEN", AUTH_TOKEN));
    config.journal = Some(settings.data.join("twilio.journal"));
    for number in list(set("TWILIO_PHONE_NUMBER", PHONE_NUMBER)) {
        config = config.with_number(number, webhook.clone());
    }
    match (settings.overrides)("TWILIO_MESSAGING_SERVICE_SID") {
        Some(service) => config.with_messaging_service(service, Vec::new()),
        None => config,
    }
}

async fn bind(port: u16, variable: &'static str) -> Result<(TcpListener, u16), StackError> {
    let failed = |source| StackError::Port { port, variable, source };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

fn check_built(template: &Template, settings: &Settings) -> Result<(), StackError> {
    let missing =
        template.functions.iter().filter(|function| !settings.binaries.join(&function.binary).exists());
    let missing: Vec<_> = missing.map(|function| function.binary.as_str()).collect();
    if !missing.is_empty() {
        return Err(StackError::NotBuilt(missing.join(", ")));
    }
    // Do not check the source folders if only the template and the binaries are present.
    let no_folder = template.functions.iter().find(|function| {
        let folder = Path::new(&function.code_uri);
        let has_sources = folder.iter().next().is_some_and(|first| settings.root.join(first).is_dir());
        has_sources && !settings.root.join(folder).is_dir()
    });
    match no_folder {
        Some(FunctionSpec { logical_id, code_uri, .. }) => {
            Err(StackError::NoFolder { function: logical_id.clone(), code_uri: code_uri.clone() })
        }
        None => Ok(()),
    }
}

/// Returns the addresses and credentials from the environment or the built-in defaults.
///
/// Values that are known only after the parts have started are still empty.
fn info(settings: &Settings, own_base: &str) -> StackInfo {
    let set = |name: &str, default: &str| (settings.overrides)(name).unwrap_or_else(|| default.to_owned());
    let webhook_bases = set("PUBLIC_WEBHOOK_BASE_URL", own_base);
    let auth_tokens = set("TWILIO_AUTH_TOKEN", AUTH_TOKEN);
    let first = |list: &str| list.split(',').next().unwrap_or_default().trim().to_owned();
    StackInfo {
        api_url: own_base.to_owned(),
        webhook_base_url: first(&webhook_bases),
        twilio_api_url: set("TWILIO_API_BASE_URL", ""),
        monitor_api_url: set("MONITOR_API_URL", ""),
        account_sid: set("TWILIO_ACCOUNT_SID", ACCOUNT_SID),
        auth_token: first(&auth_tokens),
        phone_number: first(&set("TWILIO_PHONE_NUMBER", PHONE_NUMBER)),
        api_key: None,
        database_url: (settings.overrides)("DATABASE_URL").unwrap_or_default(),
        aws_endpoint_url: String::new(),
        queues: BTreeMap::new(),
        functions: BTreeMap::new(),
        ready_ms: 0,
    }
}

/// Base URLs of services that are not in [`StackInfo`].
struct Endpoints<'a> {
    profiles: &'a str,
    sqs: &'a str,
    s3: &'a str,
    secrets: Secrets,
}

/// The ARNs of the secrets.
struct Secrets {
    database: String,
    twilio: String,
}

impl Secrets {
    /// Stores the secrets of the stack. No function has them in its environment.
    fn store(manager: &SecretsManager, settings: &Settings, info: &StackInfo) -> Self {
        let mut twilio = json!({});
        let key = ["TWILIO_API_KEY_SID", "TWILIO_API_KEY_SECRET"];
        for (variable, name) in key.into_iter().zip(["api_key_sid", "api_key_secret"]) {
            if let Some(value) = (settings.overrides)(variable) {
                twilio[name] = value.into();
            }
        }
        twilio["auth_token"] =
            (settings.overrides)("TWILIO_AUTH_TOKEN").unwrap_or(AUTH_TOKEN.to_owned()).into();
        Self {
            database: manager.put("sms/local/database", &json!({ "url": info.database_url })),
            twilio: manager.put("sms/local/twilio", &twilio),
        }
    }
}

/// Registers the functions with their variables: from the environment, the built-in defaults, or the template.
fn functions(
    settings: &Settings,
    template: &Template,
    info: &StackInfo,
    endpoints: &Endpoints<'_>,
    metrics: &Arc<Metrics>,
) -> Result<Functions, StackError> {
    // The simulator has both of Twilio's APIs. Twilio has a host for each: api.twilio.com, messaging.twilio.com.
    let twilio_messaging_api_url = info.twilio_api_url.replace("://api.", "://messaging.");
    let defaults = [
        ("DATABASE_SECRET_ARN", endpoints.secrets.database.as_str()),
        ("MONITOR_API_URL", &info.monitor_api_url),
        ("PUBLIC_WEBHOOK_BASE_URL", &info.webhook_base_url),
        // Subscribers on this machine have no TLS certificates.
        ("SUBSCRIBERS_ALLOW_LOOPBACK", "true"),
        ("TENANT_PROFILE_API_URL", endpoints.profiles),
        ("TWILIO_ACCOUNT_SID", &info.account_sid),
        ("TWILIO_API_BASE_URL", &info.twilio_api_url),
        ("TWILIO_MESSAGING_API_BASE_URL", &twilio_messaging_api_url),
        ("TWILIO_SECRET_ARN", &endpoints.secrets.twilio),
        ("TWILIO_PHONE_NUMBER", &info.phone_number),
    ];
    let defaults = defaults.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
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
    runtime.extend(template.buckets.iter().map(|id| (id.clone(), bucket_name(id))));
    let mut specs = Vec::new();
    for function in &template.functions {
        let mut environment = template.environment(function, settings.overrides, &defaults, &runtime)?;
        environment.insert("AWS_ENDPOINT_URL_SQS".to_owned(), endpoints.sqs.to_owned());
        environment.insert("AWS_ENDPOINT_URL_S3".to_owned(), endpoints.s3.to_owned());
        environment.insert("AWS_ENDPOINT_URL_SECRETS_MANAGER".to_owned(), info.aws_endpoint_url.clone());
        specs.push((function.clone(), environment));
    }
    let function_settings = FunctionSettings {
        binaries: settings.binaries.clone(),
        logs: settings.data.join("logs"),
        region: settings.region.clone(),
        max_processes: settings.max_processes,
    };
    Functions::new(specs, &function_settings, metrics).map_err(file(&function_settings.logs))
}
