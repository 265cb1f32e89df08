//! What reading numbers, languages and refusals and counting segments costs: `cargo bench -p common`, which
//! `make bench` runs as well.
//!
//! Prints one line per figure: `detect_language`, `read_keywords`, `read_opt_outs` and `parse_number` are means over
//! the case files, the medians of several runs. Loading is timed once, first, as a fresh process pays for it.

use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use common::domain::keywords::classify;
use common::domain::language::detect;
use common::domain::phone::{InboundSender, NumberingPlan, Region};
use common::domain::segments::count;

/// An odd number.
const RUNS: usize = 5;
/// Long enough to make the clocks' coarseness small.
const MEASURED_FOR: Duration = Duration::from_millis(400);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    let started = Instant::now();
    let plan = NumberingPlan::load(Region::US)?;
    writeln!(out, "bench load_numbering_plan ms={:.2}", started.elapsed().as_secs_f64() * 1e3)?;
    let started = Instant::now();
    black_box(plan.recipient("(203) 555-0123")).ok();
    writeln!(out, "bench first_recipient us={:.1}", started.elapsed().as_secs_f64() * 1e6)?;

    let texts = cases(include_str!("../cases/language.jsonl"), "text")?;
    let opt_outs = cases(include_str!("../cases/optouts.jsonl"), "body")?;
    let numbers = cases(include_str!("../cases/phones.jsonl"), "input")?;
    over(&mut out, "detect_language", &texts, |text| _ = black_box(detect(text)))?;
    over(&mut out, "read_keywords", &texts, |text| drop(black_box(classify(text))))?;
    over(&mut out, "read_opt_outs", &opt_outs, |text| drop(black_box(classify(text))))?;
    over(&mut out, "parse_number", &numbers, |number| drop(black_box(plan.recipient(number))))?;

    // Of what 250 characters can hold, this takes longest: an extension seems to begin at every other one.
    let long = "x1".repeat(125);
    let english = "Hi Smith, your rent of $2277 for unit 105 is due on the 1st. Reply STOP to opt out.";
    let emoji = "🏠".repeat(800);
    let mut report = |name: &str, run: &mut dyn FnMut()| writeln!(out, "bench {name} ns={:.0}", nanos(run));
    report("sender_from_twilio", &mut || {
        drop(black_box(InboundSender::from_twilio(black_box("+12035550123"))))
    })?;
    for (name, spelling) in [
        ("recipient_us_e164", "+12035550123"),
        ("recipient_us_spelling", "(203) 555-0123"),
        ("recipient_brazil", "+55 11 91234-5678"),
        ("recipient_idd", "011 44 7911 123456"),
        ("recipient_refused", "TWILIO"),
        ("recipient_worst_250_characters", &long),
    ] {
        report(name, &mut || drop(black_box(plan.recipient(black_box(spelling)))))?;
    }
    report("lookup_variants", &mut || drop(black_box(plan.lookup_variants(black_box("(203) 555-0123")))))?;
    for (name, body) in [("segments_gsm7_83", english), ("segments_ucs2_1600", &emoji)] {
        report(name, &mut || _ = black_box(count(black_box(body))))?;
    }
    Ok(())
}

/// Reads a field of a case file.
fn cases(lines: &str, field: &str) -> Result<Vec<String>, serde_json::Error> {
    let read = |line| {
        let case: serde_json::Value = serde_json::from_str(line)?;
        Ok(case[field].as_str().unwrap_or_default().to_owned())
    };
    lines.lines().map(read).collect()
}

/// Prints what one of many inputs costs on average.
fn over(out: &mut impl Write, name: &str, inputs: &[String], run: impl Fn(&str)) -> io::Result<()> {
    let mut means: Vec<f64> = (0..RUNS)
        .map(|_| {
            let mut all = || inputs.iter().for_each(|input| run(black_box(input)));
            nanos(&mut all) / inputs.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let bytes = inputs.iter().map(String::len).sum::<usize>() / inputs.len().max(1);
    let median = means.get(RUNS / 2).copied().unwrap_or_default();
    writeln!(out, "bench {name} ns={median:.0} inputs={} bytes={bytes}", inputs.len())
}

/// Returns the mean time of a run in nanoseconds: of this thread's on the processor, since others may keep it busy.
fn nanos(run: &mut dyn FnMut()) -> f64 {
    let (mut runs, started, used) = (0_u32, Instant::now(), on_processor());
    while started.elapsed() < MEASURED_FOR {
        for _ in 0..10 {
            run();
        }
        runs += 10;
    }
    let spent = match (used, on_processor()) {
        (Some(before), Some(now)) => now.saturating_sub(before),
        _ => started.elapsed(),
    };
    spent.as_nanos() as f64 / f64::from(runs)
}

/// Returns how long this thread has run, to a few milliseconds; `None` where the kernel doesn't tell.
fn on_processor() -> Option<Duration> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(statistics.split(' ').next()?.parse().ok()?))
}
