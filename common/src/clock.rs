//! The only module that reads the clock and the random source. Other code gets times as parameters where possible.

use jiff::{Timestamp, Unit};
use uuid::Uuid;

/// Returns the current time in whole microseconds, the precision of Postgres.
///
/// A timestamp with nanoseconds would differ from itself after a round trip through the database.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the clock")]
    let now = Timestamp::now();
    now.round(Unit::Microsecond).unwrap_or(now)
}

/// Returns a new UUIDv7. It is ordered by creation time, so that indexes grow at one end.
#[must_use]
pub fn new_id() -> Uuid {
    #[expect(clippy::disallowed_methods, reason = "the only place that creates ids")]
    Uuid::now_v7()
}

/// Returns random bytes from the operating system.
///
/// # Panics
///
/// Panics if the operating system has no random source, because secrets could not be generated.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "a failed random source must not produce a key")]
    getrandom::fill(&mut bytes).expect("the operating system has a random source");
    bytes
}

/// Returns a random fraction in `[0, 1)`, for jitter only.
#[must_use]
pub fn random_fraction() -> f64 {
    // The mantissa of an f64 has 53 bits.
    let bits = u64::from_le_bytes(random_bytes()) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_time_has_the_precision_of_postgres() {
        assert_eq!(now().subsec_nanosecond() % 1_000, 0);
    }

    #[test]
    fn ids_are_sorted_by_creation_time() {
        let ids: Vec<Uuid> = (0..100).map(|_| new_id()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn random_fractions_differ_and_are_below_one() {
        let fractions: Vec<f64> = (0..100).map(|_| random_fraction()).collect();
        assert!(fractions.iter().all(|f| (0.0..1.0).contains(f)));
        assert!(fractions.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
