//! The Twilio simulator by itself: `cargo run -p local --bin twilio-simulator -- --help`.

use std::error::Error;
use std::io::Write as _;

use lexopt::prelude::*;
use local::twilio::{ApiKey, PhoneNumber, SenderQueue, Simulator, SimulatorConfig};

const HELP: &str = "\
A Twilio for text messages on 127.0.0.1, with a phone at its root page.

  --port N                  9010; 0 takes a free one
  --account-sid AC...       AC and 32 zeros
  --auth-token TOKEN        'token'; may be repeated, the first one signs
  --api-key SID:SECRET      an API key; may be repeated
  --test-credentials SID:TOKEN
  --number NUMBER[=URL[,FALLBACK]]
                            a number of the account and its webhooks; may be repeated
  --messaging-service MG... a service with all numbers; may be repeated
  --delays QUEUED,SENT,DELIVERED
                            milliseconds from status to status, 100,300,900
  --segments-per-second N   how fast each number sends; everything at once when left out
  --queue-segments N        how much waits for a number, ten hours' worth
  --smart-encoding          replace typographic characters in what is sent
  --advanced-opt-out        send OptOutType
  --seed N                  repeatable identifiers
  --journal FILE            keep messages over a restart
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

/// The settings on the command line; none when help was asked for.
fn arguments(mut parser: lexopt::Parser) -> Result<Option<SimulatorConfig>, Box<dyn Error>> {
    let mut config = SimulatorConfig::new("AC00000000000000000000000000000000", "");
    config.port = 9010;
    config.auth_tokens.clear();
    let (mut rate, mut segments) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
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
    if config.auth_tokens.is_empty() {
        config.auth_tokens.push("token".to_owned());
    }
    if config.numbers.is_empty() {
        config.numbers.push(number("+12035550100"));
    }
    Ok(Some(config))
}

fn key(text: &str) -> Result<ApiKey, Box<dyn Error>> {
    let (sid, secret) = text.split_once(':').ok_or("a key is written SID:SECRET")?;
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
        return Err("delays are three numbers: QUEUED,SENT,DELIVERED".into());
    };
    let of = std::time::Duration::from_millis;
    (config.delays.queued, config.delays.sent, config.delays.delivered) =
        (of(queued), of(sent), of(delivered));
    Ok(())
}
