//! Nanoseconds per language detection, over the case file: `cargo bench -p common --bench language`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::time::Instant;

use common::domain::language::detect;

const ROUNDS: u32 = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cases = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/cases/language.jsonl"))?;
    let texts = cases
        .lines()
        .map(|line| {
            Ok(serde_json::from_str::<serde_json::Value>(line)?["text"].as_str().unwrap_or("").to_owned())
        })
        .collect::<Result<Vec<String>, serde_json::Error>>()?;

    let mut fastest = f64::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        for _ in 0..ROUNDS {
            for text in &texts {
                black_box(detect(black_box(text)));
            }
        }
        let texts_read = f64::from(ROUNDS) * texts.len() as f64;
        fastest = fastest.min(started.elapsed().as_nanos() as f64 / texts_read);
    }
    let letters: usize = texts.iter().map(String::len).sum();
    println!("detect: {fastest:.0} ns a text of {} bytes on average", letters / texts.len().max(1));
    Ok(())
}
