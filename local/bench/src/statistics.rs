//! Medians and percentiles.

use std::time::Duration;

/// Returns the median.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// Returns the percentile.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * (sorted.len() - 1) as f64).round();
    sorted[rank as usize]
}

/// Converts a duration to milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
