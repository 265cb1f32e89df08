//! Query parameters of endpoints.

use super::ValidationError;
use crate::domain::instant;
use jiff::Timestamp;
use std::str::FromStr;

/// The query parameters of a request by name, and the problems found in them.
#[derive(Debug, Default)]
pub struct Parameters {
    given: Vec<(&'static str, String)>,
    problems: ValidationError,
}

impl Parameters {
    /// Reads the parameters with these names. Each may be given once; others are ignored.
    #[must_use]
    pub fn read(query: impl Iterator<Item = (String, String)>, names: &[&'static str]) -> Self {
        let mut parameters = Self::default();
        for (name, value) in query {
            let Some(name) = names.iter().find(|known| **known == name) else { continue };
            if parameters.has(name) {
                parameters.problem(name, "is given more than once");
            } else {
                parameters.given.push((name, value));
            }
        }
        parameters
    }

    /// Returns whether a parameter is given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(known, _)| *known == name)
    }

    /// Records a problem with a parameter, unless another was recorded for it.
    pub fn problem(&mut self, name: &str, reason: impl Into<String>) {
        self.problems.add_once(name, reason);
    }

    /// Reads a text without NUL characters, which Postgres cannot store.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let value = self.get(name)?.to_owned();
        if value.is_empty() {
            self.problem(name, "is empty");
        } else if value.contains('\0') {
            self.problem(name, "contains a NUL character");
        } else {
            return Some(value);
        }
        None
    }

    /// Reads a whole number between two bounds.
    pub fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let text = self.get(name)?;
        // `parse` accepts a plus sign.
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_digits && (min..=max).contains(number));
        if number.is_none() {
            self.problem(name, format!("must be a whole number from {min} to {max}"));
        }
        number
    }

    /// Reads `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        self.one_of(name, "true or false")
    }

    /// Reads one of the values that `expected` describes.
    pub fn one_of<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let value = self.get(name)?.parse().ok();
        if value.is_none() {
            self.problem(name, format!("must be {expected}"));
        }
        value
    }

    /// Reads an RFC 3339 timestamp, rounded to microseconds like those of Postgres.
    pub fn instant(&mut self, name: &str) -> Option<Timestamp> {
        let parsed = instant::parse(self.get(name)?);
        parsed.map_err(|error| self.problem(name, error.to_string())).ok()
    }

    /// Reads a value whose error says what is wrong with it.
    pub fn parse<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: ToString,
    {
        let parsed = self.get(name)?.parse::<T>();
        parsed.map_err(|error| self.problem(name, error.to_string())).ok()
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with all invalid parameters.
    pub fn check(self) -> Result<(), ValidationError> {
        self.problems.check()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &[(&str, &str)]) -> Parameters {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Parameters::read(query, &["text", "number", "flag", "at"])
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let mut given =
            parameters(&[("text", "a b"), ("number", "7"), ("flag", "true"), ("at", "2026-11-01T12:00:00Z")]);
        assert_eq!(given.text("text").as_deref(), Some("a b"));
        assert_eq!(given.number("number", 1, 7), Some(7));
        assert_eq!(given.flag("flag"), Some(true));
        assert_eq!(given.instant("at"), "2026-11-01T12:00:00Z".parse().ok());
        assert_eq!(given.check(), Ok(()));
    }

    #[test]
    fn absent_and_unknown_parameters_are_no_problem() {
        let mut given = parameters(&[("other", "1"), ("other", "2")]);
        assert!(!given.has("text") && !given.has("other"));
        assert_eq!(
            (given.text("text"), given.flag("flag"), given.number("number", 0, 1)),
            (None, None, None)
        );
        assert_eq!(given.check(), Ok(()));
    }

    #[test]
    fn every_invalid_parameter_is_named_once_with_its_reason() {
        let mut given = parameters(&[
            ("text", "a\0"),
            ("number", "+1"),
            ("flag", "yes"),
            ("at", "today"),
            ("flag", "true"),
        ]);
        assert_eq!((given.text("text"), given.number("number", 0, 9)), (None, None));
        assert_eq!((given.flag("flag"), given.instant("at")), (None, None));
        let problems = given.check().unwrap_err().sentences();
        assert!(
            problems.starts_with("flag is given more than once; text contains a NUL character; "),
            "{problems}"
        );
        assert!(problems.contains("number must be a whole number from 0 to 9; at "), "{problems}");
        let mut empty = parameters(&[("text", "")]);
        assert_eq!(empty.text("text"), None);
        assert_eq!(empty.check().unwrap_err().sentences(), "text is empty");
    }
}
