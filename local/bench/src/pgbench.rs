//! Runs the statement of record-inbound with pgbench, for comparison.

use crate::cluster::Database;
use crate::traffic;
use common::clock;
use common::db::inbound::STORE;
use common::domain::language::{self, Strength};
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
    let columns = columns(series, first, size);
    let mut sql = STORE.to_owned();
    // Start with the last parameter, because `$1` is a prefix of `$20`.
    for (position, column) in columns.iter().enumerate().rev() {
        sql = sql.replace(&format!("${}", position + 1), &literal(column));
    }
    sql
}

fn columns(series: u64, first: u64, size: u64) -> Vec<Vec<Option<String>>> {
    let mut columns = vec![Vec::new(); 20];
    for number in first..first + size {
        let form = Form::from_iter(traffic::inbound(series, number));
        let sms = InboundSms::read(&form).expect("a MessageSid");
        let detected = language::detect(&sms.body);
        let row = [
            Some(clock::new_id().to_string()),
            Some(clock::new_id().to_string()),
            sms.account_sid,
            Some(sms.from.clone()),
            Some(sms.message_sid),
            Some(sms.from),
            Some(sms.to),
            sms.messaging_service_sid,
            Some(sms.body),
            Some("[]".to_owned()),
            Some(form.to_jsonb().value.to_string()),
            Some("false".to_owned()),
            Some(detected.language.as_str().to_owned()),
            Some(detected.confidence.to_string()),
            Some((Strength::of(detected.confidence) as i16).to_string()),
            None,
            None,
            None,
            Some(clock::new_id().to_string()),
            Some(clock::now().to_string()),
        ];
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    columns
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
