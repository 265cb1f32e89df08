//! Area codes of the North American Numbering Plan (NANP) that libphonenumber lacks.
//!
//! libphonenumber adds some area codes years after they are in service. `nanp.txt` is NANPA's list.

use super::E164;

/// The list. Its first lines have the source and the date.
const LIST: &str = include_str!("nanp.txt");

/// The columns of a line: area code, country, states, time zones, and the overlaid area codes.
type Columns = [&'static str; 5];

fn columns(line: &'static str) -> Columns {
    let mut columns = line.split(' ');
    std::array::from_fn(|_| columns.next().unwrap_or_default())
}

fn lines() -> impl Iterator<Item = Columns> {
    LIST.lines().filter(|line| !line.starts_with('#')).map(columns)
}

/// Returns the line of a number's area code.
fn line_of(number: &E164) -> Option<Columns> {
    let code = number.national().get(..3).filter(|_| number.country_code() == "1")?;
    LIST.lines().find(|line| line.starts_with(code)).map(columns)
}

/// Returns whether a number is in an area code of the US or Canada that is in service or assigned.
///
/// In the US and Canada, any exchange of an area code may be in service. The other NANP countries use few exchanges,
/// which libphonenumber lists.
pub(super) fn is_in_use(number: &E164) -> bool {
    let national = number.national().as_bytes();
    let has_shape = national.len() == 10 && national[0] >= b'2' && national[3] >= b'2';
    has_shape && line_of(number).is_some_and(|[_, country, ..]| matches!(country, "US" | "CA"))
}

/// Returns the ISO 3166-1 code of the country of a number's area code.
pub(super) fn country(number: &E164) -> Option<&'static str> {
    line_of(number).map(|[_, country, ..]| country)
}

/// Returns the states of the US in which a number's area code is: none for other numbers.
pub(in crate::domain) fn states(number: &E164) -> impl Iterator<Item = &'static str> {
    let line = line_of(number).filter(|[_, country, ..]| *country == "US");
    line.into_iter().flat_map(|[_, _, states, ..]| states.split(','))
}

/// Returns the code of a state of the US, if it has an area code.
pub(in crate::domain) fn us_state(text: &str) -> Option<&'static str> {
    let mut states =
        lines().filter(|[_, country, ..]| *country == "US").flat_map(|[_, _, states, ..]| states.split(','));
    states.find(|state| *state == text)
}

/// An area code, for tests.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct AreaCode {
    pub(crate) code: &'static str,
    /// The time zones: `E`, `EC`, `+10` …
    pub(crate) clocks: &'static str,
    /// The overlaid area codes.
    pub(crate) overlaid: std::vec::IntoIter<&'static str>,
}

/// Returns every area code of the list.
#[cfg(test)]
pub(crate) fn area_codes() -> impl Iterator<Item = AreaCode> {
    lines().map(|[code, _, _, clocks, overlaid]| {
        let overlaid: Vec<&str> = overlaid.split(',').filter(|code| *code != "-").collect();
        AreaCode { code, clocks, overlaid: overlaid.into_iter() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use jiff::civil::Date;

    #[test]
    fn the_list_is_not_older_than_a_year() {
        let date = LIST.lines().find_map(|line| line.strip_prefix("# as of ")).unwrap();
        let date: Date = date.parse().unwrap();
        let today = clock::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let age = today.since(date).unwrap().get_days();
        assert!(age <= 366, "nanp.txt is {age} days old: its head says how to renew it");
    }

    #[test]
    fn the_list_is_sorted_and_complete() {
        let codes: Vec<&str> = area_codes().map(|area_code| area_code.code).collect();
        assert!(codes.len() > 450, "{}", codes.len());
        assert!(codes.is_sorted());
        for area_code in area_codes() {
            assert!(area_code.code.len() == 3 && area_code.code.as_bytes()[0] >= b'2', "{area_code:?}");
            for overlaid in area_code.overlaid {
                assert!(codes.contains(&overlaid), "{overlaid}");
            }
        }
    }

    #[test]
    fn us_and_canadian_numbers_are_checked_by_area_code() {
        for (number, expected) in [
            ("+16245550144", true),
            ("+12735550144", true),
            ("+19425550144", true),
            ("+16245550", false),
            ("+16241550144", false),
            ("+16875550144", false),
            ("+18005550144", false),
            ("+18765550144", false),
            ("+446245550144", false),
        ] {
            assert_eq!(is_in_use(&number.parse().unwrap()), expected, "{number}");
        }
    }
}
