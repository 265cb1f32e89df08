//! What can be set about the stack itself, from the environment.

use std::path::PathBuf;
use std::time::Duration;

use crate::twilio::SenderQueue;

/// Where the stack is, and what it is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that holds `template.yaml`.
    pub root: PathBuf,
    /// The folder of the stack's own files.
    pub data: PathBuf,
    /// The folder that holds the functions' binaries.
    pub binaries: PathBuf,
    /// The front door's port; 0 takes a free one.
    pub port: u16,
    /// The Twilio simulator's port; 0 takes a free one.
    pub twilio_port: u16,
    /// How fast the Twilio simulator's numbers send, and how much waits for them; none for everything at once.
    pub twilio_queue: Option<SenderQueue>,
    /// Whether the Twilio simulator has Smart Encoding on.
    pub twilio_smart_encoding: bool,
    /// The port of what stands for the Monitor, if one is asked for; 0 takes a free one.
    pub monitor_port: Option<u16>,
    /// Replaces every schedule's expression.
    pub schedule_tick: Option<Duration>,
    /// The most processes of one function.
    pub max_processes: usize,
    /// The region in ARNs and events.
    pub region: String,
    /// What replaces embedded defaults and template values, by variable name.
    pub overrides: fn(&str) -> Option<String>,
}

/// A variable with a value that it cannot have.
#[derive(Debug, thiserror::Error)]
#[error("{name}={value} is not {wanted}")]
pub struct SettingError {
    name: &'static str,
    value: String,
    wanted: &'static str,
}

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    ///
    /// When a variable holds what it cannot.
    pub fn from_env(root: PathBuf, binaries: PathBuf) -> Result<Self, SettingError> {
        let number = |name: &'static str| match variable(name) {
            None => Ok(None),
            Some(value) => match value.parse::<u32>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(SettingError { name, value, wanted: "a whole number" }),
            },
        };
        let port = |name: &'static str| match number(name)? {
            None => Ok(None),
            Some(port) => u16::try_from(port).map(Some).map_err(|_| SettingError {
                name,
                value: port.to_string(),
                wanted: "a port",
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
                    return Err(SettingError { name, value: other.to_owned(), wanted: "on or off" });
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

/// A variable of the process's environment; an empty one is as if it were not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
