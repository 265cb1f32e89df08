//! Settings of the local stack, read from the environment.

use std::path::PathBuf;
use std::time::Duration;

use twilio_simulator::SenderQueue;

/// Settings of the local stack.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that holds `template.yaml`.
    pub root: PathBuf,
    /// The folder for data, logs and `stack.json`.
    pub data: PathBuf,
    /// The folder that holds the functions' binaries.
    pub binaries: PathBuf,
    /// The port of the HTTP gateway; 0 selects a free port.
    pub port: u16,
    /// The port of the Twilio simulator; 0 selects a free port.
    pub twilio_port: u16,
    /// Sending rate and queue length of each number in the Twilio simulator. `None` sends without a limit.
    pub twilio_queue: Option<SenderQueue>,
    /// Whether Smart Encoding is on in the Twilio simulator.
    pub twilio_smart_encoding: bool,
    /// The port of the Monitor stand-in, if configured; 0 selects a free port.
    pub monitor_port: Option<u16>,
    /// An interval that replaces the expression of every schedule.
    pub schedule_tick: Option<Duration>,
    /// Maximum number of processes per function.
    pub max_processes: usize,
    /// The AWS region in ARNs and events.
    pub region: String,
    /// Looks up an environment variable that overrides a built-in default or a template value.
    pub overrides: fn(&str) -> Option<String>,
}

/// An environment variable with an invalid value.
#[derive(Debug, thiserror::Error)]
#[error("{name}={value}: expected {expected}")]
pub struct SettingError {
    name: &'static str,
    value: String,
    expected: &'static str,
}

impl Settings {
    /// Reads the settings from the environment.
    ///
    /// # Errors
    ///
    /// If a variable has an invalid value; the message names the variable.
    pub fn from_env(root: PathBuf, binaries: PathBuf) -> Result<Self, SettingError> {
        let number = |name: &'static str| match variable(name) {
            None => Ok(None),
            Some(value) => match value.parse::<u32>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(SettingError { name, value, expected: "a whole number" }),
            },
        };
        let port = |name: &'static str| match number(name)? {
            None => Ok(None),
            Some(port) => u16::try_from(port).map(Some).map_err(|_| SettingError {
                name,
                value: port.to_string(),
                expected: "a port number",
            }),
        };
        let segments = number("SMS_TWILIO_QUEUE_SEGMENTS")?;
        Ok(Self {
            data: root.join("target/local"),
            root,
            binaries,
            port: port("SMS_PORT")?.unwrap_or(9000),
            twilio_port: port("SMS_TWILIO_PORT")?.unwrap_or(9010),
            monitor_port: port("SMS_MONITOR_PORT")?,
            twilio_queue: number("SMS_TWILIO_SEGMENTS_PER_SECOND")?.map(|rate| {
                let queue = SenderQueue::with_rate(rate.max(1).into());
                segments.map_or(queue, |segments| SenderQueue { segments: segments.max(1).into(), ..queue })
            }),
            twilio_smart_encoding: match variable("SMS_TWILIO_SMART_ENCODING").as_deref() {
                None | Some("off") => false,
                Some("on") => true,
                Some(other) => {
                    let name = "SMS_TWILIO_SMART_ENCODING";
                    return Err(SettingError { name, value: other.to_owned(), expected: "on or off" });
                }
            },
            schedule_tick: number("SMS_SCHEDULE_SECONDS")?
                .map(|seconds| Duration::from_secs(seconds.max(1).into())),
            max_processes: number("SMS_MAX_PROCESSES")?.map_or(32, |most| most.max(1) as usize),
            region: variable("AWS_REGION").unwrap_or_else(|| "us-east-1".to_owned()),
            overrides: variable,
        })
    }
}

/// Reads an environment variable. An empty value counts as not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
