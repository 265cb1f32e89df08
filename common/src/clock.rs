//! The one module that reads the clock and the random source, so that everything else can be handed a time.

use jiff::{Timestamp, Unit};
use uuid::Uuid;

/// Returns the present instant in whole microseconds, the precision Postgres keeps.
///
/// A timestamp with nanoseconds would not be equal to itself after a round trip through the database.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    let now = Timestamp::now();
    now.round(Unit::Microsecond).unwrap_or(now)
}

/// Returns a fresh UUIDv7: unique, and ordered by creation time, so that indexes grow at one end.
#[must_use]
pub fn new_id() -> Uuid {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes identifiers")]
    Uuid::now_v7()
}

/// Fills an array from the operating system's random source.
///
/// # Panics
///
/// When the operating system has no random source: nothing secret can be made on such a machine.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "a key from a failed random source must never be handed out")]
    getrandom::fill(&mut bytes).expect("the operating system has a random source");
    bytes
}

/// Returns a random fraction in `[0, 1)`, for jitter only.
#[must_use]
pub fn random_fraction() -> f64 {
    // 53 bits are what an f64's mantissa holds.
    let bits = u64::from_le_bytes(random_bytes()) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_has_the_precision_of_postgres() {
        assert_eq!(now().subsec_nanosecond() % 1_000, 0);
    }

    #[test]
    fn ids_made_later_sort_later() {
        let ids: Vec<Uuid> = (0..100).map(|_| new_id()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn random_fractions_stay_below_one_and_differ() {
        let fractions: Vec<f64> = (0..100).map(|_| random_fraction()).collect();
        assert!(fractions.iter().all(|f| (0.0..1.0).contains(f)));
        assert!(fractions.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
