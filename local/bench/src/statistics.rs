//! Medians and percentiles.

use std::time::Duration;

/// Returns the middle of several measurements.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// Returns the value that `percent` of the measurements do not exceed.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * (sorted.len() - 1) as f64).round();
    sorted[rank as usize]
}

/// Returns a duration in milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
