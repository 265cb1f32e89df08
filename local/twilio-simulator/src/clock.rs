//! The clock and the random identifiers. No other module reads the time or randomness.

use jiff::Timestamp;

/// Returns the current time.
#[expect(clippy::disallowed_methods, reason = "the simulator shares no code with the service it tests")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Generates identifiers with SplitMix64, repeatable with a seed. Not for secrets.
pub(crate) struct Random(u64);

impl Random {
    /// Starts from `seed`, or from the operating system's entropy without one.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(seed.unwrap_or_else(|| getrandom::u64().unwrap_or_else(|_| now().as_nanosecond() as u64)))
    }

    /// Returns the next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a SID: the two letters of `prefix` and 32 hexadecimal digits.
    pub(crate) fn sid(&mut self, prefix: &str) -> String {
        format!("{prefix}{:016x}{:016x}", self.next(), self.next())
    }

    /// Returns a version 4 UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let (head, tail) = (a & 0xffff_ffff_ffff_0fff | 0x4000, b & 0x3fff_ffff_ffff_ffff | 1 << 63);
        let text = format!("{head:016x}{tail:016x}");
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }
}

/// Formats a time in RFC 2822 and GMT, as Twilio's 2010 API does: `Mon, 23 Nov 2026 13:05:00 +0000`.
pub(crate) fn rfc2822(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_use_the_format_of_twilio() {
        let at: Timestamp = "2026-01-05T03:04:05.999Z".parse().unwrap();
        assert_eq!(rfc2822(at), "Mon, 05 Jan 2026 03:04:05 +0000");
    }

    #[test]
    fn equal_seeds_give_equal_identifiers() {
        let (mut one, mut two) = (Random::new(Some(7)), Random::new(Some(7)));
        let sid = one.sid("SM");
        assert_eq!(sid, two.sid("SM"));
        assert_eq!(sid.len(), 34);
        assert_ne!(sid, one.sid("SM"));
        assert_eq!(one.uuid().len(), 36);
        assert_eq!(&one.uuid()[14..15], "4");
    }
}
