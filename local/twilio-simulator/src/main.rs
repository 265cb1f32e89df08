//! The simulator as a command: `cargo run -p twilio-simulator -- --help`.

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use lexopt::prelude::*;
use twilio_simulator::{ApiKey, PhoneNumber, SenderQueue, Simulator, SimulatorConfig};

const DEFAULT_ADDRESS: &str = "127.0.0.1:9010";
const DEFAULT_ACCOUNT_SID: &str = "AC00000000000000000000000000000000";
const DEFAULT_AUTH_TOKEN: &str = "token";
const DEFAULT_NUMBER: &str = "+12035550100";

const HELP: &str = "\
A local simulator of Twilio's messaging API. Prints its base URL; open it in a browser to send and read texts.

Options, with the environment variable that sets the same value where there is one:
  --address HOST:PORT       address to listen on [TWILIO_SIMULATOR_ADDRESS, default 127.0.0.1:9010]
  --port N                  port to listen on; 0 selects a free port
  --account-sid AC...       Account SID [TWILIO_ACCOUNT_SID, default AC and 32 zeros]
  --auth-token TOKEN        Auth Token [TWILIO_AUTH_TOKEN, default 'token']; repeatable, the first one signs
  --api-key SID:SECRET      API key; repeatable
  --test-credentials SID:TOKEN
                            test credentials, for requests that send nothing
  --number NUMBER[=WEBHOOK_URL[,FALLBACK_URL]]
                            phone number with its inbound webhook; repeatable
                            [TWILIO_PHONE_NUMBER and TWILIO_WEBHOOK_URL, default +12035550100 without a webhook]
  --messaging-service MG... messaging service with all phone numbers; repeatable
  --delays QUEUED,SENT,DELIVERED
                            milliseconds before each status [100,300,900]
  --segments-per-second N   sending rate of each phone number; default: no limit
  --queue-segments N        queue length of each phone number [ten hours at its rate]
  --smart-encoding          enable Smart Encoding
  --advanced-opt-out        send OptOutType in inbound webhooks
  --seed N                  repeatable SIDs
  --journal FILE            keep messages and opt-outs across restarts
  -h, --help                print this text

The control API under /simulator has no password: keep the address on the loopback interface.
";

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let Some(config) = arguments(lexopt::Parser::from_env())? else {
        std::io::stdout().write_all(HELP.as_bytes())?;
        return Ok(());
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(config))
}

async fn run(config: SimulatorConfig) -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::start(config).await?;
    writeln!(std::io::stdout(), "{}", simulator.url())?;
    tokio::signal::ctrl_c().await?;
    simulator.shutdown().await;
    Ok(())
}

/// Returns the value of an environment variable; an empty value counts as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads options and environment variables. Returns `None` for `--help`.
fn arguments(mut parser: lexopt::Parser) -> Result<Option<SimulatorConfig>, Box<dyn Error>> {
    let account_sid = variable("TWILIO_ACCOUNT_SID").unwrap_or_else(|| DEFAULT_ACCOUNT_SID.to_owned());
    let mut config = SimulatorConfig::new(account_sid, "");
    config.auth_tokens.clear();
    let address = variable("TWILIO_SIMULATOR_ADDRESS");
    set_address(&mut config, address.as_deref().unwrap_or(DEFAULT_ADDRESS))?;
    let (mut rate, mut segments) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("address") => set_address(&mut config, &parser.value()?.string()?)?,
            Long("port") => config.port = parser.value()?.parse()?,
            Long("account-sid") => config.account_sid = parser.value()?.string()?,
            Long("auth-token") => config.auth_tokens.push(parser.value()?.string()?),
            Long("api-key") => config.api_keys.push(key(&parser.value()?.string()?)?),
            Long("test-credentials") => config.test_credentials = Some(key(&parser.value()?.string()?)?),
            Long("number") => config.numbers.push(number(&parser.value()?.string()?)),
            Long("messaging-service") => {
                config = config.with_messaging_service(parser.value()?.string()?, Vec::new());
            }
            Long("delays") => delays(&mut config, &parser.value()?.string()?)?,
            Long("segments-per-second") => rate = Some(parser.value()?.parse::<f64>()?),
            Long("queue-segments") => segments = Some(parser.value()?.parse::<f64>()?),
            Long("smart-encoding") => config.smart_encoding = true,
            Long("advanced-opt-out") => config.advanced_opt_out = true,
            Long("seed") => config.seed = Some(parser.value()?.parse()?),
            Long("journal") => config.journal = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    config.sender_queue = match (rate.map(SenderQueue::with_rate), segments) {
        (Some(queue), Some(segments)) => Some(SenderQueue { segments, ..queue }),
        (None, Some(_)) => return Err("--queue-segments needs --segments-per-second".into()),
        (queue, None) => queue,
    };
    add_defaults(&mut config);
    Ok(Some(config))
}

/// Adds an Auth Token and a phone number if no option has set one.
fn add_defaults(config: &mut SimulatorConfig) {
    if config.auth_tokens.is_empty() {
        let token = variable("TWILIO_AUTH_TOKEN").unwrap_or_else(|| DEFAULT_AUTH_TOKEN.to_owned());
        config.auth_tokens.push(token);
    }
    if config.numbers.is_empty() {
        config.numbers.push(PhoneNumber {
            number: variable("TWILIO_PHONE_NUMBER").unwrap_or_else(|| DEFAULT_NUMBER.to_owned()),
            webhook_url: variable("TWILIO_WEBHOOK_URL"),
            fallback_url: None,
        });
    }
}

fn set_address(config: &mut SimulatorConfig, text: &str) -> Result<(), Box<dyn Error>> {
    let address: SocketAddr =
        text.parse().map_err(|_| format!("{text} is not an address such as {DEFAULT_ADDRESS}"))?;
    (config.host, config.port) = (address.ip(), address.port());
    Ok(())
}

fn key(text: &str) -> Result<ApiKey, Box<dyn Error>> {
    let (sid, secret) = text.split_once(':').ok_or("an API key has the form SID:SECRET")?;
    Ok(ApiKey { sid: sid.to_owned(), secret: secret.to_owned() })
}

fn number(text: &str) -> PhoneNumber {
    let (number, urls) = text.split_once('=').map_or((text, None), |(number, urls)| (number, Some(urls)));
    let (webhook, fallback) = match urls.map(|urls| urls.split_once(',').ok_or(urls)) {
        None => (None, None),
        Some(Ok((webhook, fallback))) => (Some(webhook.to_owned()), Some(fallback.to_owned())),
        Some(Err(webhook)) => (Some(webhook.to_owned()), None),
    };
    PhoneNumber { number: number.to_owned(), webhook_url: webhook, fallback_url: fallback }
}

fn delays(config: &mut SimulatorConfig, text: &str) -> Result<(), Box<dyn Error>> {
    let millis: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
    let [queued, sent, delivered] = millis?[..] else {
        return Err("--delays needs three numbers: QUEUED,SENT,DELIVERED".into());
    };
    let of = Duration::from_millis;
    (config.delays.queued, config.delays.sent, config.delays.delivered) =
        (of(queued), of(sent), of(delivered));
    Ok(())
}
