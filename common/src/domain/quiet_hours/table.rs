//! The configured quiet hours: one window, or a table of the hours in which messages may be sent.

use crate::domain::message::Purpose;
use crate::domain::phone::nanp;
use jiff::civil::{Time, Weekday};
use std::str::FromStr;

/// The table of the United States. Its rows name their sources.
const US: &str = include_str!("us.txt");

/// A part of a local day, from `start` until before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hours {
    start: Time,
    /// `None`: midnight.
    end: Option<Time>,
}

impl Hours {
    fn hold(self, time: Time) -> bool {
        self.start <= time && self.end.is_none_or(|end| time < end)
    }
}

/// Hours of some days in which some messages are not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// `None`: all but emergencies.
    purpose: Option<Purpose>,
    /// `None`: all recipients.
    state: Option<&'static str>,
    days: Vec<Weekday>,
    hours: Hours,
}

impl Rule {
    fn applies(&self, purpose: Purpose, states: &[&str]) -> bool {
        self.purpose.map_or(purpose != Purpose::Emergency, |own| own == purpose)
            && self.state.is_none_or(|state| states.contains(&state))
    }
}

/// When which messages are not sent.
///
/// - `21:00-08:00`: one window for all messages but emergencies.
/// - Rows separated by `;`, such as `marketing TX Sun 12:00-21:00`: a purpose, a state or `*`, weekdays or `*`, and the
///   hours in which messages may be sent. A message may be sent while all rows that apply allow it. `us` stands for the
///   rows of `us.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    rules: Vec<Rule>,
}

/// The text is not a window and not a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Neither a window nor rows.
    #[error("it is not written as 21:00-08:00, as us, or as rows such as marketing TX Sun 12:00-21:00")]
    NoWindow,
    /// The window is empty, or all day.
    #[error("it ends when it starts")]
    Empty,
    /// A row is invalid.
    #[error("{row:?}: {reason}")]
    Row {
        /// The row.
        row: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The rows leave no time to send.
    #[error("its rows leave no time for messages with the purpose {0}")]
    NeverOpen(Purpose),
}

impl FromStr for Table {
    type Err = TableError;

    fn from_str(text: &str) -> Result<Self, TableError> {
        let rows: Vec<&str> = text.split(';').map(str::trim).filter(|row| !row.is_empty()).collect();
        let mut rules = Vec::new();
        for row in &rows {
            match row.split_whitespace().collect::<Vec<_>>()[..] {
                ["us"] => {
                    let lines = US.lines().filter_map(|line| line.split('#').next());
                    for line in lines.map(str::trim).filter(|line| !line.is_empty()) {
                        rules.extend(read_row(line)?);
                    }
                }
                [window] if rows.len() == 1 => rules.extend(read_window(window)?),
                _ => rules.extend(read_row(row)?),
            }
        }
        if rules.is_empty() {
            return Err(TableError::NoWindow);
        }
        let table = Self { rules };
        for purpose in [Purpose::Service, Purpose::Marketing] {
            let mut states = table.rules.iter().map(|rule| rule.state);
            if !states.all(|state| table.opens(purpose, state.as_slice())) {
                return Err(TableError::NeverOpen(purpose));
            }
        }
        Ok(table)
    }
}

impl Table {
    /// Returns the ends of the quiet hours that hold a local time. `None` is midnight.
    pub(super) fn ends(
        &self,
        purpose: Purpose,
        states: &[&str],
        day: Weekday,
        time: Time,
    ) -> impl Iterator<Item = Option<Time>> {
        let applies = move |rule: &&Rule| {
            rule.applies(purpose, states) && rule.days.contains(&day) && rule.hours.hold(time)
        };
        self.rules.iter().filter(applies).map(|rule| rule.hours.end)
    }

    /// Returns whether there is a time in a week at which messages may be sent. Only ends of quiet hours need a look.
    fn opens(&self, purpose: Purpose, states: &[&str]) -> bool {
        let ends = self.rules.iter().filter_map(|rule| rule.hours.end);
        let times: Vec<Time> = ends.chain([Time::midnight()]).collect();
        let is_open = |day, time| self.ends(purpose, states, day, time).next().is_none();
        WEEK.into_iter().any(|day| times.iter().any(|time| is_open(day, *time)))
    }
}

const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

/// Reads a window of quiet hours. It may include midnight.
fn read_window(text: &str) -> Result<Vec<Rule>, TableError> {
    let (start, end) = read_hours(text).ok_or(TableError::NoWindow)?;
    let rule =
        |start, end| Rule { purpose: None, state: None, days: WEEK.to_vec(), hours: Hours { start, end } };
    match end {
        Some(end) if end == start => Err(TableError::Empty),
        Some(end) if end < start => Ok(vec![rule(start, None), rule(Time::midnight(), Some(end))]),
        end => Ok(vec![rule(start, end)]),
    }
}

/// Reads a row of a table. Its quiet hours are before and after its hours.
fn read_row(row: &str) -> Result<Vec<Rule>, TableError> {
    let invalid = |reason| TableError::Row { row: row.to_owned(), reason };
    let [purpose, state, days, hours] = row.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(invalid("is not a purpose, a state, weekdays and hours"));
    };
    let purpose: Purpose = purpose.parse().map_err(|_| invalid("its purpose is not service or marketing"))?;
    if purpose == Purpose::Emergency {
        return Err(invalid("emergencies have no quiet hours"));
    }
    let state = match state {
        "*" => None,
        state => Some(
            nanp::us_state(state)
                .ok_or_else(|| invalid("it has no state of the US, such as TX, and no *"))?,
        ),
    };
    let days = read_days(days)
        .ok_or_else(|| invalid("its weekdays are not written as *, Sun, Mon-Sat or Sat,Sun"))?;
    let (start, end) =
        read_hours(hours).ok_or_else(|| invalid("its hours are not written as 08:00-21:00"))?;
    if end.is_some_and(|end| end <= start) {
        return Err(invalid("its hours end before they start"));
    }
    let rule =
        |start, end| Rule { purpose: Some(purpose), state, days: days.clone(), hours: Hours { start, end } };
    let before = (start > Time::midnight()).then(|| rule(Time::midnight(), Some(start)));
    let after = end.map(|end| rule(end, None));
    Ok(before.into_iter().chain(after).collect())
}

/// Reads two times. The second is `None` if it is midnight.
fn read_hours(text: &str) -> Option<(Time, Option<Time>)> {
    let time = |text: &str| Time::strptime("%H:%M", text.trim()).ok();
    let (start, end) = text.split_once('-')?;
    let end = if matches!(end.trim(), "24:00" | "00:00") { None } else { Some(time(end)?) };
    Some((time(start)?, end))
}

fn read_days(text: &str) -> Option<Vec<Weekday>> {
    if text == "*" {
        return Some(WEEK.to_vec());
    }
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (read_day(first)?, read_day(last)?);
        days.extend(first.cycle_forward().take(7).take_while(|day| *day != last));
        days.push(last);
    }
    Some(days)
}

fn read_day(text: &str) -> Option<Weekday> {
    let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    names.into_iter().zip(WEEK).find(|(name, _)| *name == text).map(|(_, day)| day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Table>().unwrap_err().to_string()
    }

    #[test]
    fn a_window_or_a_table_is_read_and_anything_else_is_refused_with_the_row() {
        for text in [
            "21:00-08:00",
            "22:00-24:00",
            "12:00-13:30",
            "us",
            "us; marketing CT * 09:00-20:00",
            "marketing * Sat,Sun 10:00-24:00;service * Fri-Mon 00:00-21:00;",
        ] {
            assert!(text.parse::<Table>().is_ok(), "{text}");
        }
        let no_window =
            "it is not written as 21:00-08:00, as us, or as rows such as marketing TX Sun 12:00-21:00";
        for text in ["", ";", "21:00", "9pm-8am", "25:00-08:00", "US"] {
            assert_eq!(refusal(text), no_window, "{text}");
        }
        assert_eq!(refusal("08:00-08:00"), "it ends when it starts");
        for (row, reason) in [
            ("marketing TX Sun", "is not a purpose, a state, weekdays and hours"),
            ("us 21:00-08:00", "is not a purpose, a state, weekdays and hours"),
            ("sales * * 08:00-21:00", "its purpose is not service or marketing"),
            ("emergency * * 08:00-21:00", "emergencies have no quiet hours"),
            ("marketing Texas * 08:00-21:00", "it has no state of the US, such as TX, and no *"),
            ("marketing ON * 08:00-21:00", "it has no state of the US, such as TX, and no *"),
            ("marketing * weekend 08:00-21:00", "its weekdays are not written as *, Sun, Mon-Sat or Sat,Sun"),
            ("marketing * * 8-21", "its hours are not written as 08:00-21:00"),
            ("marketing * * 21:00-08:00", "its hours end before they start"),
            ("marketing * * 08:00-08:00", "its hours end before they start"),
        ] {
            assert_eq!(refusal(&format!("us; {row}")), format!("{row:?}: {reason}"));
        }
        assert_eq!(
            refusal("us; 21:00-08:00"),
            r#""21:00-08:00": is not a purpose, a state, weekdays and hours"#
        );
    }

    #[test]
    fn rows_that_leave_no_time_are_refused() {
        let never = "its rows leave no time for messages with the purpose marketing";
        assert_eq!(refusal("marketing * * 08:00-12:00; marketing TX * 12:00-20:00"), never);
        assert!("marketing * * 08:00-12:00; service * * 12:00-20:00".parse::<Table>().is_ok());
        assert!("marketing * * 08:00-12:00; marketing * Mon-Sat 12:00-20:00".parse::<Table>().is_ok());
    }

    #[test]
    fn weekdays_may_wrap_around_the_week() {
        let names = |text: &str| read_days(text).unwrap().len();
        assert_eq!((names("Sat-Mon"), names("Mon-Sun"), names("Sun"), names("Mon,Wed-Fri")), (3, 7, 1, 4));
        assert_eq!(read_days("Sat-Mon").unwrap(), [Weekday::Saturday, Weekday::Sunday, Weekday::Monday]);
        for text in ["", "Sonntag", "Mon-", "sun"] {
            assert_eq!(read_days(text), None, "{text}");
        }
    }
}
