//! Measures the service on cases that it did not make, and names each one that it decides otherwise.
//!
//! Reads `common/cases`, or the folder named by `SMS_CASES_DIR`. Prints a line per file, such as
//! `cases phones agree=1997 total=1997`, and fails when less agrees than a file requires. `reports` has a line for each kind
//! of report; some need a PostgreSQL server, at `TEST_DATABASE_URL`.

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

/// One case file: its name without the ending, and what runs it.
type Suite = (&'static str, fn(&Path) -> Result<Tally, Error>);

const SUITES: [Suite; 5] = [
    ("language", language::run),
    ("optouts", optouts::run),
    ("phones", phones::run),
    ("segments", segments::run),
    ("twilio_signatures", signatures::run),
];

type Error = Box<dyn std::error::Error>;

/// What became of the cases of one file.
struct Tally {
    /// The share of cases that must agree.
    required: f64,
    total: usize,
    disagreements: Vec<String>,
    /// What no share of agreement excuses, such as a message sent to a stranger.
    unmet: Vec<String>,
    /// Cases that agree for a reason that the reader should know.
    notes: Vec<String>,
    /// Figures in place of how many agree.
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

    /// Returns what keeps the file from agreeing as much as it must: nothing, if all is well.
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
    /// Prints the line of a file or kind, with each disagreement, and returns whether enough agrees.
    fn print(&self, name: &str, out: &mut impl Write) -> io::Result<bool> {
        let agreement = format!("agree={} total={}", self.agreeing(), self.total);
        writeln!(out, "cases {name} {}", self.summary.as_ref().unwrap_or(&agreement))?;
        for line in self.disagreements.iter().chain(&self.notes) {
            writeln!(out, "  {line}")?;
        }
        let shortcomings = self.shortcomings();
        for shortcoming in &shortcomings {
            writeln!(out, "  not good enough: {shortcoming}")?;
        }
        Ok(shortcomings.is_empty())
    }
}

/// Runs every file of the folder and returns whether all of them agree as much as they must.
///
/// A file that is not there is reported and costs nothing, as long as one is there.
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
    fn too_little_agreement_is_not_met() {
        let mut tally = Tally::requiring(0.5);
        assert_eq!(tally.shortcomings(), ["less than 50 % agree"], "nothing measured is nothing shown");
        tally.agree();
        tally.check(&Value::from(7), "x", 1, 2);
        assert!(tally.shortcomings().is_empty());
        assert_eq!(tally.disagreements, [r#"id=7 input="x" got=1 expected=2"#]);
        tally.check(&Value::Null, "y", 1, 2);
        assert_eq!(tally.shortcomings(), ["less than 50 % agree"]);
    }

    #[test]
    fn a_message_to_a_stranger_is_never_met() {
        let mut tally = Tally::requiring(0.0);
        tally.agree();
        tally.unmet.push("a stranger".to_owned());
        assert_eq!(tally.shortcomings(), ["a stranger"]);
    }
}
