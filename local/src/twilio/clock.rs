//! The simulator's clock and its randomness: the only place here that reads either.

use jiff::Timestamp;

/// The current time.
#[expect(clippy::disallowed_methods, reason = "the simulator shares no code with the service it tests")]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// A small generator (SplitMix64) for identifiers that a seed makes repeatable. Not for secrets.
pub(super) struct Random(u64);

impl Random {
    /// Starts from `seed`, or from the operating system's entropy when there is none.
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self(seed.unwrap_or_else(|| getrandom::u64().unwrap_or_else(|_| now().as_nanosecond() as u64)))
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An identifier as Twilio makes them: two letters and 32 hexadecimal digits.
    pub(super) fn sid(&mut self, prefix: &str) -> String {
        format!("{prefix}{:016x}{:016x}", self.next(), self.next())
    }

    /// 128 random bits, spelled as a version 4 UUID.
    pub(super) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let (head, tail) = (a & 0xffff_ffff_ffff_0fff | 0x4000, b & 0x3fff_ffff_ffff_ffff | 1 << 63);
        let text = format!("{head:016x}{tail:016x}");
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }
}

/// RFC 2822 in GMT, as every date of Twilio's 2010 API is written: `Mon, 23 Nov 2026 13:05:00 +0000`.
pub(super) fn rfc2822(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_twilio_writes_them() {
        let at: Timestamp = "2026-01-05T03:04:05.999Z".parse().unwrap();
        assert_eq!(rfc2822(at), "Mon, 05 Jan 2026 03:04:05 +0000");
    }

    #[test]
    fn a_seed_repeats_its_identifiers() {
        let (mut one, mut two) = (Random::new(Some(7)), Random::new(Some(7)));
        let sid = one.sid("SM");
        assert_eq!(sid, two.sid("SM"));
        assert_eq!(sid.len(), 34);
        assert_ne!(sid, one.sid("SM"));
        assert_eq!(one.uuid().len(), 36);
        assert_eq!(&one.uuid()[14..15], "4");
    }
}
