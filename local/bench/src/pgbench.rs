//! Runs the statement of record-inbound with pgbench, for comparison.

use crate::cluster::Database;
use crate::traffic;
use common::clock;
use common::db::inbound::STORE;
use common::domain::event::{EventData, EventType, MessageReceived};
use common::domain::keywords::OptOut;
use common::domain::language;
use common::domain::message::Direction;
use common::twilio::{Form, InboundSms};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

/// Runs pgbench.
#[derive(Debug)]
pub struct Pgbench {
    /// The folder for scripts.
    pub folder: PathBuf,
}

impl Pgbench {
    /// Stores new messages and returns the rows per second, without the time to connect.
    ///
    /// pgbench counts a script as one transaction, so the script has all statements of a run.
    pub fn rows_per_second(&self, database: &Database<'_>, series: u64, rows: u64, size: u64) -> f64 {
        let mut script = String::new();
        for first in (0..rows).step_by(size as usize) {
            script.push_str(&statement(series, first, size));
            script.push_str(";\n");
        }
        let path = self.folder.join("store.sql");
        std::fs::write(&path, script).expect("a script");
        let output = Command::new("pgbench")
            .args(["--no-vacuum", "--protocol=simple", "--client=1", "--transactions=1", "--file"])
            .args([path.as_os_str(), database.url.as_ref()])
            .output()
            .expect("pgbench, which is part of PostgreSQL's server package");
        let text = String::from_utf8_lossy(&output.stdout);
        let tps =
            text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
        let problems = String::from_utf8_lossy(&output.stderr);
        tps.unwrap_or_else(|| panic!("pgbench failed: {problems}")) * rows as f64
    }
}

/// Returns the statement with literals in place of its parameters.
fn statement(series: u64, first: u64, size: u64) -> String {
    let rows: Vec<_> = (first..first + size).map(|number| row(series, number)).collect();
    let now = clock::now().to_string();
    let mut values: Vec<(&str, String)> = vec![
        ("received_event", format!("'{}'", EventType::MessageReceived.as_str())),
        ("language_event", format!("'{}'", EventType::LanguageChanged.as_str())),
        ("now", format!("'{now}'")),
    ];
    for (position, (name, _)) in row(series, first).iter().enumerate() {
        let column: Vec<_> = rows.iter().map(|row| row[position].1.clone()).collect();
        values.push((name, literal(&column)));
    }
    let mut sql = STORE.sql().to_owned();
    for (name, value) in values {
        // With the character after the name, because one name may be a prefix of another.
        for end in [",", ")"] {
            sql = sql.replace(&format!("${name}{end}"), &format!("{value}{end}"));
        }
    }
    sql
}

/// Returns the parameters of a message.
fn row(series: u64, number: u64) -> [(&'static str, Option<String>); 24] {
    let form = Form::from_iter(traffic::inbound(series, number));
    let sms = InboundSms::read(&form).expect("a MessageSid");
    let detected = language::detect(&sms.body);
    let received = MessageReceived {
        direction: Direction::Inbound,
        twilio_sid: sms.message_sid.to_string(),
        language: detected.language,
        language_confidence: f64::from(detected.confidence),
        num_media: 0,
        opt_out: OptOut::None,
    };
    [
        ("ids", Some(clock::new_id().to_string())),
        ("conversation_ids", Some(clock::new_id().to_string())),
        ("account_sids", sms.account_sid.map(String::from)),
        ("phone_numbers_canonical", Some(sms.from.clone())),
        ("twilio_sids", Some(sms.message_sid.into())),
        ("from_numbers", Some(sms.from)),
        ("to_numbers", Some(sms.to)),
        ("messaging_service_sids", sms.messaging_service_sid),
        ("message_contents", Some(sms.body)),
        ("media", Some("[]".to_owned())),
        ("raw_webhook_data", Some(form.to_jsonb().value.to_string())),
        ("nul_removed", Some("false".to_owned())),
        ("languages", Some(detected.language.as_str().to_owned())),
        ("language_confidences", Some(detected.confidence.to_string())),
        ("language_strengths", Some(detected.strength().to_string())),
        ("opt_out_results", Some("none".to_owned())),
        ("opt_out_actions", None),
        ("opt_out_sources", None),
        ("opt_out_words", None),
        ("request_ids", Some(clock::new_id().to_string())),
        ("received_at", Some(clock::now().to_string())),
        ("event_data", Some(received.json())),
        ("opt_events", None),
        ("opt_event_data", None),
    ]
}

/// Returns an array literal.
fn literal(column: &[Option<String>]) -> String {
    let mut text = String::from("'{");
    for (position, value) in column.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        let escaped = |value: &String| value.replace('\\', r"\\").replace('"', "\\\"").replace('\'', "''");
        let _ = match value {
            Some(value) => write!(text, "{comma}\"{}\"", escaped(value)),
            None => write!(text, "{comma}NULL"),
        };
    }
    text.push_str("}'");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_has_a_value() {
        let sql = statement(1, 0, 2);
        let parameters: Vec<_> =
            sql.match_indices('$').map(|(at, _)| &sql[at..(at + 30).min(sql.len())]).collect();
        assert_eq!(parameters, [""; 0]);
    }
}
