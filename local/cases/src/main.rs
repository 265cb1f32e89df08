//! Compares the service with external case files and prints each disagreement.
//!
//! Reads `common/cases`, or the folder in `SMS_CASES_DIR`. Prints a line per file, such as
//! `cases phones agree=1997 total=1997`, and fails if too few cases of a file agree. `reports` has a line for each kind
//! of report. Some of these need a PostgreSQL server at `TEST_DATABASE_URL`.

mod language;
mod optouts;
mod phones;
mod reports;
mod segments;
mod signatures;
mod world;

use std::fmt::Debug;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A case file: its name without the extension, and the function that runs it.
type Suite = (&'static str, fn(&Path) -> Result<Tally, Error>);

const SUITES: [Suite; 5] = [
    ("language", language::run),
    ("optouts", optouts::run),
    ("phones", phones::run),
    ("segments", segments::run),
    ("twilio_signatures", signatures::run),
];

type Error = Box<dyn std::error::Error>;

/// The results of a case file.
struct Tally {
    /// The share of cases that must agree.
    required: f64,
    total: usize,
    disagreements: Vec<String>,
    /// Failures that are never acceptable, such as a message to a wrong recipient.
    unmet: Vec<String>,
    /// Explanations of cases that count as agreement.
    notes: Vec<String>,
    /// Numbers to print instead of the agreement.
    summary: Option<String>,
}

impl Tally {
    const fn requiring(required: f64) -> Self {
        Self {
            required,
            total: 0,
            disagreements: Vec::new(),
            unmet: Vec::new(),
            notes: Vec::new(),
            summary: None,
        }
    }

    const fn agree(&mut self) {
        self.total += 1;
    }

    fn disagree(&mut self, id: &Value, input: &str, got: impl Debug, expected: impl Debug) {
        self.total += 1;
        self.disagreements.push(format!("id={id} input={input:?} got={got:?} expected={expected:?}"));
    }

    fn check<T: Debug + PartialEq>(&mut self, id: &Value, input: &str, got: T, expected: T) {
        if got == expected {
            self.agree();
        } else {
            self.disagree(id, input, got, expected);
        }
    }

    const fn agreeing(&self) -> usize {
        self.total - self.disagreements.len()
    }

    /// Returns the requirements that are not met.
    fn shortcomings(&self) -> Vec<String> {
        let mut shortcomings = self.unmet.clone();
        if self.total == 0 || (self.agreeing() as f64) < self.required * self.total as f64 {
            shortcomings.push(format!("less than {} % agree", self.required * 100.0));
        }
        shortcomings
    }
}

/// Reads a file of one JSON object per line.
fn read<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>, Error> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line)
                .map_err(|error| format!("{} line {}: {error}", file.display(), index + 1).into())
        })
        .collect()
}

impl Tally {
    /// Prints the line of a file or kind with all disagreements. Returns whether all requirements are met.
    fn print(&self, name: &str, out: &mut impl Write) -> io::Result<bool> {
        let agreement = format!("agree={} total={}", self.agreeing(), self.total);
        writeln!(out, "cases {name} {}", self.summary.as_ref().unwrap_or(&agreement))?;
        for line in self.disagreements.iter().chain(&self.notes) {
            writeln!(out, "  {line}")?;
        }
        let shortcomings = self.shortcomings();
        for shortcoming in &shortcomings {
            writeln!(out, "  requirement not met: {shortcoming}")?;
        }
        Ok(shortcomings.is_empty())
    }
}

/// Runs all files of the folder and returns whether all requirements are met.
///
/// Missing files are reported and otherwise ignored, as long as one file exists.
fn run(folder: &Path, out: &mut impl Write) -> Result<bool, Error> {
    let (mut all_met, mut any) = (true, false);
    let mut existing = |name: &str, out: &mut dyn Write| -> io::Result<Option<PathBuf>> {
        let file = folder.join(name).with_extension("jsonl");
        if !file.exists() {
            writeln!(out, "cases {name} absent")?;
            return Ok(None);
        }
        any = true;
        Ok(Some(file))
    };
    for (name, suite) in SUITES {
        if let Some(file) = existing(name, out)? {
            all_met &= suite(&file)?.print(name, out)?;
        }
    }
    if let Some(file) = existing("reports", out)? {
        for (kind, tally) in reports::run(&file)? {
            all_met &= tally.print(&format!("reports/{kind}"), out)?;
        }
    }
    if any { Ok(all_met) } else { Err(format!("no case file in {}", folder.display()).into()) }
}

fn folder() -> PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../common/cases");
    env::var_os("SMS_CASES_DIR").map_or_else(|| own.into(), PathBuf::from)
}

fn main() -> Result<ExitCode, Error> {
    let met = run(&folder(), &mut io::stdout().lock())?;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_agrees_with_the_cases() {
        let mut report = Vec::new();
        let met = run(&folder(), &mut report).unwrap();
        assert!(met, "{}", String::from_utf8_lossy(&report));
    }

    #[test]
    fn too_few_agreeing_cases_do_not_meet_the_requirement() {
        let mut tally = Tally::requiring(0.5);
        assert_eq!(
            tally.shortcomings(),
            ["less than 50 % agree"],
            "a file without cases must not meet the requirement"
        );
        tally.agree();
        tally.check(&Value::from(7), "x", 1, 2);
        assert!(tally.shortcomings().is_empty());
        assert_eq!(tally.disagreements, [r#"id=7 input="x" got=1 expected=2"#]);
        tally.check(&Value::Null, "y", 1, 2);
        assert_eq!(tally.shortcomings(), ["less than 50 % agree"]);
    }

    #[test]
    fn a_message_to_a_wrong_recipient_never_meets_the_requirement() {
        let mut tally = Tally::requiring(0.0);
        tally.agree();
        tally.unmet.push("a wrong recipient".to_owned());
        assert_eq!(tally.shortcomings(), ["a wrong recipient"]);
    }
}
