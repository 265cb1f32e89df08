//! The command line of the local stack.
//!
//! - `local run` starts the stack.
//! - `local key --scopes a,b` creates an API key in the running stack and prints it.
//! - `local listen [TYPE …]` receives events of the running stack, verifies and prints them.
//! - `local clean-data` removes all stored data.
//! - `local with-postgres COMMAND …` runs a command with a temporary PostgreSQL server in `TEST_DATABASE_URL`.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use local::listen::Listener;
use local::postgres::Postgres;
use local::settings::Settings;
use local::stack::{Stack, StackInfo};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: local run | key --scopes messages:send,messages:read | listen TYPE … | clean-data | \
    with-postgres COMMAND …";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["run"] => run().await,
        ["key", "--scopes", scopes] => key(scopes).await,
        ["listen", types @ ..] => listen(types).await,
        ["clean-data"] => clean_data(),
        ["with-postgres", program, arguments @ ..] => match with_postgres(program, arguments).await {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "local: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command with a temporary PostgreSQL server and returns its exit code. The server's data is removed
/// afterwards.
async fn with_postgres(program: &str, arguments: &[&str]) -> Result<ExitCode, Box<dyn Error>> {
    let folder = settings()?.data.with_file_name(format!("test-postgres-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (data, log) = (folder.join("cluster"), folder.join("log"));
    let server = Postgres::start_for_tests(&data, &log).await?;
    let status = tokio::process::Command::new(program)
        .args(arguments)
        .env("TEST_DATABASE_URL", server.url())
        .kill_on_drop(true)
        .status()
        .await;
    server.stop().await;
    local::postgres::remove_data(&data)?;
    std::fs::remove_dir_all(&folder)?;
    let code = status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    // Cargo puts the functions' binaries into the same folder as this one.
    let binary = std::env::current_exe()?;
    let binaries = binary.parent().map(PathBuf::from).unwrap_or_default();
    Ok(Settings::from_env(std::env::current_dir()?, binaries)?)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let settings = settings()?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Dropping an unfinished start kills the child processes that it has started.
    let stack = tokio::select! {
        stack = Stack::start(&settings) => stack?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    announce(stack.info(), &settings)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    writeln!(std::io::stdout(), "\nstopping")?;
    stack.stop().await;
    Ok(())
}

/// Prints the addresses and three example commands.
fn announce(info: &StackInfo, settings: &Settings) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (api, simulator) = (&info.api_url, &info.twilio_api_url);
    let key = info.api_key.as_deref().unwrap_or("<key>");
    let files = settings.data.display();
    writeln!(out, "\nReady after {} ms.\n", info.ready_ms)?;
    writeln!(out, "  API       {api}   key {key}")?;
    writeln!(out, "  Phone     {simulator}/")?;
    writeln!(out, "  Tenants   {}/", info.monitor_api_url)?;
    writeln!(out, "  Events    {api}/live#key={key}")?;
    writeln!(out, "  Metrics   {api}/metrics")?;
    writeln!(out, "  AWS       {}   (SQS, Lambda's Invoke)", info.aws_endpoint_url)?;
    writeln!(out, "  Database  {}", info.database_url)?;
    writeln!(
        out,
        "  Logs      tail -F {files}/logs/*.log   (all addresses are also in {files}/stack.json)\n"
    )?;
    writeln!(out, "Send a text message to the service from a simulated handset:")?;
    writeln!(
        out,
        "  curl -sX POST {simulator}/simulator/handsets/+12025550123/messages -H 'content-type: application/json' \
         -d '{{\"body\":\"The heating is off\"}}'"
    )?;
    writeln!(out, "Read the conversation:")?;
    writeln!(out, "  curl -s {api}/conversations/+12025550123 -H 'authorization: Bearer {key}'")?;
    writeln!(out, "Reply:")?;
    writeln!(
        out,
        "  curl -sX POST {api}/sms/send -H 'authorization: Bearer {key}' -H 'content-type: application/json' \
         -d '{{\"to\":\"+12025550123\",\"body\":\"We are on our way\"}}'\n"
    )?;
    writeln!(out, "Ctrl-C stops everything. The data is kept until `make clean-data`.\n")
}

async fn key(scopes: &str) -> Result<(), Box<dyn Error>> {
    let info = running_stack()?;
    let scopes: Vec<&str> = scopes.split(',').map(str::trim).filter(|scope| !scope.is_empty()).collect();
    let key = local::stack::create_key(&info.aws_endpoint_url, &scopes).await?;
    writeln!(std::io::stdout(), "{key}")?;
    Ok(())
}

async fn listen(types: &[&str]) -> Result<(), Box<dyn Error>> {
    let info = running_stack()?;
    // Another client of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = Listener::start(&info, std::env::var("SMS_API_KEY").ok(), types).await?;
    writeln!(std::io::stdout(), "Listening for events. Ctrl-C ends the subscription.")?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(listener.stop().await?)
}

fn running_stack() -> Result<StackInfo, Box<dyn Error>> {
    Ok(StackInfo::read(&settings()?.data)
        .map_err(|error| format!("no running stack found ({error}): start one with `make run`"))?)
}

fn clean_data() -> Result<(), Box<dyn Error>> {
    let settings = settings()?;
    if settings.data.exists() {
        local::stack::lock(&settings.data)?;
    }
    local::postgres::remove_data(&settings.data.join("postgres"))?;
    match std::fs::remove_dir_all(&settings.data) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
