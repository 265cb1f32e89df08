//! Parses phone numbers with the numbering plans of all countries.

use std::fmt;
use std::str::FromStr;

use rlibphonenumber::{
    CreateUtilError, InvalidRegionError, NumberLengthType, ParseError, PhoneNumber, PhoneNumberFormat,
    PhoneNumberUtil, ValidationError,
};

use super::spelling::plain;
use super::{E164, nanp};

/// The maximum length of a text, in characters. The official library has the same limit; this port has none.
const MAX_CHARACTERS: usize = 250;

/// The country of numbers without a country code: an ISO 3166-1 alpha-2 code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Region(rlibphonenumber::Region);

/// The text is not a country code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 3166-1 code of two letters, such as US")]
pub struct InvalidRegion(#[source] InvalidRegionError);

impl Region {
    /// The United States, which share their plan with Canada and much of the Caribbean.
    pub const US: Self = Self(rlibphonenumber::Region::US);
}

impl FromStr for Region {
    type Err = InvalidRegion;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        code.parse().map(Self).map_err(InvalidRegion)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({self})")
    }
}

/// The numbering plans could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The default region has no numbering plan.
    #[error("{0} has no numbering plan")]
    UnknownRegion(Region),
    /// The metadata in the library is unreadable.
    #[error("reading the numbering plans")]
    Metadata(#[source] CreateUtilError),
}

/// The text is not a valid recipient. The messages are for callers of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Empty, or white space only.
    #[error("the phone number is empty")]
    Empty,
    /// Longer than any phone number.
    #[error("the phone number is longer than {MAX_CHARACTERS} characters")]
    TooLong,
    /// Not a phone number.
    #[error("not a phone number")]
    NotANumber,
    /// A plus sign and an unknown country code.
    #[error("no country has this country code")]
    UnknownCountryCode,
    /// A local number, without its area code.
    #[error("the area code is missing")]
    NoAreaCode,
    /// Fewer digits than any number of its country.
    #[error("too few digits for a number of its country")]
    TooFewDigits,
    /// More digits than any number of its country, or than E.164 allows.
    #[error("too many digits for a number of its country")]
    TooManyDigits,
    /// A number of digits that its country does not use.
    #[error("no number of its country has this many digits")]
    WrongLength,
    /// A range that its country does not use.
    #[error("its country's numbering plan has no such number")]
    NotInPlan,
    /// A short code, which cannot receive messages.
    #[error("a short code can't receive messages")]
    ShortCode,
    /// A valid number with an extension.
    #[error("a number with an extension can't receive messages")]
    Extension,
}

/// A valid recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    e164: E164,
    original: String,
}

impl Recipient {
    /// Returns the number to send to.
    #[must_use]
    pub const fn e164(&self) -> &E164 {
        &self.e164
    }

    /// Returns the number as the caller spelled it.
    #[must_use]
    pub fn original(&self) -> &str {
        &self.original
    }

    /// Splits the recipient into the number and its original spelling.
    #[must_use]
    pub fn into_parts(self) -> (E164, String) {
        (self.e164, self.original)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient(…{})", self.e164.last_four())
    }
}

/// The numbering plans of all countries, with a default region.
///
/// Loading takes milliseconds, so do it at cold start. Parsing a number takes microseconds. See
/// `common/docs/decisions/0004-phone-numbers.md`.
pub struct NumberingPlan {
    util: PhoneNumberUtil,
    default_region: Region,
}

impl NumberingPlan {
    /// Loads the plans and compiles the patterns of the default region.
    ///
    /// # Errors
    ///
    /// When the region has no numbering plan. The function must not start.
    pub fn load(default_region: Region) -> Result<Self, LoadError> {
        let util = PhoneNumberUtil::new().map_err(LoadError::Metadata)?;
        if util.get_country_code_for_region(default_region.0).is_none() {
            return Err(LoadError::UnknownRegion(default_region));
        }
        if let Ok(example) = util.get_example_number(default_region.0) {
            util.is_valid_number(&example);
        }
        Ok(Self { util, default_region })
    }

    /// Parses a recipient in any spelling: punctuation, letters for digits, digits of other scripts, `011…` from the
    /// US, `tel:` URIs. Invisible characters are ignored.
    ///
    /// # Errors
    ///
    /// When the text is not a valid recipient. Show the reason to the caller.
    pub fn recipient(&self, spelling: &str) -> Result<Recipient, PhoneError> {
        if let Some(e164) = listed(spelling) {
            return Ok(Recipient { e164, original: spelling.to_owned() });
        }
        if spelling.chars().nth(MAX_CHARACTERS).is_some() {
            return Err(PhoneError::TooLong);
        }
        let plain = plain(spelling);
        if plain.trim().is_empty() {
            return Err(PhoneError::Empty);
        }
        let number = self.parse(&plain)?;
        if !self.is_in_plan(&number) {
            return Err(self.why_not_valid(&plain, &number));
        }
        if number.extension.is_some() {
            return Err(PhoneError::Extension);
        }
        let e164 = self.format(&number).ok_or(PhoneError::TooManyDigits)?;
        Ok(Recipient { e164, original: spelling.to_owned() })
    }

    /// Parses a number that [`recipient`](Self::recipient) rejected because the plan lacks it. It is a valid recipient
    /// if it has sent us a message: then Twilio knows it and the plan is outdated.
    #[must_use]
    pub fn unlisted_recipient(&self, spelling: &str, refusal: PhoneError) -> Option<Recipient> {
        match refusal {
            PhoneError::NotInPlan
            | PhoneError::UnknownCountryCode
            | PhoneError::TooFewDigits
            | PhoneError::TooManyDigits
            | PhoneError::WrongLength => {}
            PhoneError::Empty
            | PhoneError::TooLong
            | PhoneError::NotANumber
            | PhoneError::NoAreaCode
            | PhoneError::ShortCode
            | PhoneError::Extension => return None,
        }
        Some(Recipient { e164: self.resolve(spelling)?, original: spelling.to_owned() })
    }

    /// Returns the country of a number: that of its area code where countries share a country code, else the main one
    /// of the country code. `None` for codes without a country, such as +883.
    #[must_use]
    pub fn country(&self, number: &E164) -> Option<Region> {
        if let Some(country) = nanp::country(number).and_then(|country| country.parse().ok()) {
            return Some(country);
        }
        let number = self.parse(number.as_str()).ok()?;
        let region = self.util.get_region_for_number(&number);
        region.or_else(|| self.util.get_region_for_country_code(number.country_code)).map(Region)
    }

    fn is_in_plan(&self, number: &PhoneNumber) -> bool {
        self.util.is_valid_number(number)
            || self.format(number).is_some_and(|number| nanp::is_in_use(&number))
    }

    /// Returns the key of the conversation for a spelling: the E.164 number, or the text itself for short codes and
    /// alphanumeric senders.
    #[must_use]
    pub fn canonical(&self, spelling: &str) -> String {
        self.resolve(spelling).map_or_else(|| as_text(spelling), String::from)
    }

    /// Returns the spellings to look up, in order and without duplicates: as received, E.164, national significant
    /// number, digits with country code. For a text that is not a number: as received, and without invisible
    /// characters.
    #[must_use]
    pub fn lookup_variants(&self, spelling: &str) -> Vec<String> {
        match self.resolve(spelling) {
            Some(number) => number.lookup_variants(spelling),
            None => {
                let mut variants = vec![spelling.to_owned(), as_text(spelling)];
                variants.dedup();
                variants
            }
        }
    }

    /// Finds the most likely number for a spelling.
    ///
    /// This accepts more than [`recipient`](Self::recipient), because nothing is sent to it. A possible length is
    /// enough, and an extension is ignored. Spaces, underscores and inner plus signs (form encoding) separate. `00` is
    /// the international prefix everywhere. A foreign number may lack its plus sign, which callers forget to
    /// percent-encode.
    fn resolve(&self, spelling: &str) -> Option<E164> {
        if let Some(number) = listed(spelling) {
            return Some(number);
        }
        if spelling.chars().nth(MAX_CHARACTERS).is_some() {
            return None;
        }
        let spaced = spaced(spelling);
        if let Some(abroad) = spaced.strip_prefix("00")
            && let Some(number) = self.foreign(&format!("+{abroad}"))
        {
            return Some(number);
        }
        if let Some(number) = self.parse(&spaced).ok().filter(|number| self.is_complete(number)) {
            return self.format(&number);
        }
        if spaced.starts_with('+')
            && let Some(number) = self.foreign(&spaced)
        {
            return Some(number);
        }
        if let Ok(number) = spaced.parse() {
            return Some(number);
        }
        let digits: String = spaced.chars().filter(|character| !" -.()".contains(*character)).collect();
        self.foreign(format!("+{digits}").parse::<E164>().ok()?.as_str())
    }

    /// Parses a number with its country code. It must be valid, because a possible length alone matches too many
    /// numbers.
    fn foreign(&self, spelling: &str) -> Option<E164> {
        let current = self.format(&self.parse(spelling).ok()?)?.current();
        let number = self.parse(current.as_str()).ok().filter(|number| self.util.is_valid_number(number))?;
        self.format(&number)
    }

    fn parse(&self, spelling: &str) -> Result<PhoneNumber, PhoneError> {
        self.util.parse(spelling, Some(self.default_region.0)).map_err(|error| match error {
            ParseError::InvalidCountryCode => PhoneError::UnknownCountryCode,
            ParseError::NotANumber(_) => PhoneError::NotANumber,
            ParseError::TooShortAfterIdd | ParseError::TooShortNsn => PhoneError::TooFewDigits,
            ParseError::TooLongNsn => PhoneError::TooManyDigits,
        })
    }

    fn format(&self, number: &PhoneNumber) -> Option<E164> {
        self.util.format(number, PhoneNumberFormat::E164).into_owned().try_into().ok()
    }

    fn is_complete(&self, number: &PhoneNumber) -> bool {
        self.util.is_possible_number_with_reason(number) == Ok(NumberLengthType::IsPossible)
    }

    fn why_not_valid(&self, spelling: &str, number: &PhoneNumber) -> PhoneError {
        let spelling = spelling.trim();
        if (3..=6).contains(&spelling.len()) && spelling.bytes().all(|byte| byte.is_ascii_digit()) {
            return PhoneError::ShortCode;
        }
        match self.util.is_possible_number_with_reason(number) {
            Ok(NumberLengthType::IsPossible) => PhoneError::NotInPlan,
            Ok(NumberLengthType::IsPossibleLocalOnly) => PhoneError::NoAreaCode,
            Err(ValidationError::InvalidCountryCode) => PhoneError::UnknownCountryCode,
            Err(ValidationError::TooShort) => PhoneError::TooFewDigits,
            Err(ValidationError::TooLong) => PhoneError::TooManyDigits,
            Err(ValidationError::InvalidLength) => PhoneError::WrongLength,
        }
    }
}

/// Reads a US or Canadian number in E.164 format. Most numbers are, and the library takes 20 µs for one.
fn listed(spelling: &str) -> Option<E164> {
    spelling.parse().ok().filter(nanp::is_in_use)
}

/// Removes invisible characters from a text that is not a number, such as a short code.
fn as_text(spelling: &str) -> String {
    if spelling.chars().nth(MAX_CHARACTERS).is_some() {
        spelling.to_owned()
    } else {
        plain(spelling).trim().to_owned()
    }
}

/// Replaces separators that the library does not know by spaces.
fn spaced(spelling: &str) -> String {
    let mut before = ' ';
    let space = |character: char| {
        let is_plus_between = character == '+' && (before.is_numeric() || before == ')');
        before = character;
        if character == '_' || is_plus_between { ' ' } else { character }
    };
    plain(spelling).trim().chars().map(space).collect()
}

impl fmt::Debug for NumberingPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NumberingPlan").field("default_region", &self.default_region).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
