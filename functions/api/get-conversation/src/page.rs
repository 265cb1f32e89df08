//! Pagination of a conversation.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::db::conversations::PageStart;
use common::domain::ids::MessageId;
use common::http::{Parameters, ValidationError};
use jiff::Timestamp;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Default number of messages per page.
const DEFAULT_LIMIT: u32 = 20;
/// Maximum number of messages per page.
const MAX_LIMIT: u32 = 100;

/// The last message of the previous page, opaque to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Creation time of the message.
    pub created_at: Timestamp,
    /// Id of the message, because several can have the same time.
    pub id: MessageId,
}

/// The first byte of a cursor, so that its format can change.
const VERSION: u8 = 1;
/// Version, microseconds since 1970, id.
const BYTES: usize = 1 + 8 + 16;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        bytes.extend(self.created_at.as_microsecond().to_be_bytes());
        bytes.extend(self.id.uuid().as_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The text is not a cursor of this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a next_cursor of this API")]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        let (version, rest) = bytes.split_first().ok_or(NotACursor)?;
        let (micros, id) = rest.split_first_chunk::<8>().ok_or(NotACursor)?;
        let id = Uuid::from_slice(id).map_err(|_| NotACursor)?.into();
        // No message is older than 1970, and Postgres rejects some earlier timestamps that jiff accepts.
        let micros = u64::from_be_bytes(*micros).try_into().map_err(|_| NotACursor)?;
        let created_at = Timestamp::from_microsecond(micros).map_err(|_| NotACursor)?;
        if *version == VERSION { Ok(Self { created_at, id }) } else { Err(NotACursor) }
    }
}

/// The requested page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Position of the first message.
    pub start: PageStart,
    /// Maximum number of messages, 1 to 100.
    pub limit: u32,
}

impl Page {
    /// Reads `page`, `limit`, `offset` and `cursor`, and ignores other parameters.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with all invalid parameters.
    pub fn from_query(query: impl Iterator<Item = (String, String)>) -> Result<Self, ValidationError> {
        let mut given = Parameters::read(query, &["page", "limit", "offset", "cursor"]);
        let limit = given.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
        let page = given.number("page", 1, u32::MAX);
        let offset = given.number("offset", 0, u32::MAX);
        let of_page = page.map(|page| i64::from(page - 1) * i64::from(limit));
        if given.has("cursor") && (page.is_some() || offset.is_some()) {
            given.problem("cursor", "cannot be combined with page or offset");
        }
        let start = match given.parse::<Cursor>("cursor") {
            Some(cursor) => PageStart::After(cursor.created_at, cursor.id),
            None => PageStart::Offset(offset.map(i64::from).or(of_page).unwrap_or(0)),
        };
        if let (Some(page), Some(offset), Some(of_page)) = (page, offset, of_page)
            && of_page != i64::from(offset)
        {
            given.problem(
                "offset",
                format!("conflicts with page {page}, which begins at {of_page}; give only one of them"),
            );
        }
        given.check()?;
        Ok(Self { start, limit })
    }

    /// Returns the page number, or `None` for a cursor.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.offset().map(|offset| offset / u64::from(self.limit) + 1)
    }

    /// Returns how many messages are skipped, or `None` for a cursor.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self.start {
            PageStart::Offset(offset) => u64::try_from(offset).ok(),
            PageStart::After(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &[(&str, &str)]) -> Result<Page, String> {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Page::from_query(query).map_err(|error| {
            let problems =
                error.fields().iter().map(|problem| format!("{} {}", problem.field, problem.reason));
            problems.collect::<Vec<_>>().join("; ")
        })
    }

    fn start(query: &[(&str, &str)]) -> (PageStart, u32) {
        let page = page(query).unwrap();
        (page.start, page.limit)
    }

    #[test]
    fn a_cursor_is_parsed_from_its_text() {
        let cursor = Cursor {
            created_at: "2026-11-01T12:00:00.123456Z".parse().unwrap(),
            id: Uuid::from_u128(7).into(),
        };
        let text = cursor.to_string();
        assert_eq!(text.parse(), Ok(cursor));
        assert_eq!(
            start(&[("cursor", &text), ("limit", "3")]),
            (PageStart::After(cursor.created_at, cursor.id), 3)
        );
        for garbage in
            ["", "x", "AAAA", &text[1..], &format!("{text}A"), &format!("{text}="), &"_".repeat(34)]
        {
            assert_eq!(garbage.parse::<Cursor>(), Err(NotACursor), "{garbage}");
        }
    }

    #[test]
    fn a_cursor_with_an_impossible_time_is_refused() {
        let with = |micros: i64| {
            let mut bytes = vec![VERSION];
            bytes.extend(micros.to_be_bytes());
            bytes.extend(Uuid::nil().as_bytes());
            URL_SAFE_NO_PAD.encode(bytes)
        };
        let (first, last) = (Timestamp::MIN.as_microsecond(), Timestamp::MAX.as_second() * 1_000_000);
        for impossible in [-1, first, first - 1, last + 1_000_000, i64::MIN, i64::MAX] {
            assert_eq!(with(impossible).parse::<Cursor>(), Err(NotACursor), "{impossible}");
        }
        for possible in [0, last] {
            assert!(with(possible).parse::<Cursor>().is_ok(), "{possible}");
        }
    }

    #[test]
    fn the_start_is_given_by_page_or_offset() {
        assert_eq!(start(&[]), (PageStart::Offset(0), 20));
        assert_eq!(start(&[("page", "3"), ("limit", "10")]), (PageStart::Offset(20), 10));
        assert_eq!(start(&[("offset", "7")]), (PageStart::Offset(7), 20));
        assert_eq!(start(&[("offset", "20"), ("page", "2"), ("other", "x")]), (PageStart::Offset(20), 20));
        let last = i64::from(u32::MAX - 1) * 100;
        assert_eq!(start(&[("page", "4294967295"), ("limit", "100")]), (PageStart::Offset(last), 100));
        assert_eq!(page(&[("offset", "45")]).unwrap().number(), Some(3));
    }

    #[test]
    fn invalid_parameters_are_refused_with_all_reasons() {
        let whole = |name: &str, min: u32, max: u32| {
            Err(format!("{name} must be a whole number from {min} to {max}"))
        };
        for bad in ["0", "-1", "1.5", "+1", "", "x", " 1", "99999999999999999999", "١"] {
            assert_eq!(page(&[("page", bad)]), whole("page", 1, u32::MAX), "{bad}");
        }
        for bad in ["0", "101", "1e2", "99999999999999999999"] {
            assert_eq!(page(&[("limit", bad)]), whole("limit", 1, 100), "{bad}");
        }
        assert_eq!(page(&[("offset", "-1")]), whole("offset", 0, u32::MAX));
        let cursor = Cursor { created_at: Timestamp::UNIX_EPOCH, id: Uuid::nil().into() }.to_string();
        for other in ["page", "offset"] {
            let both = page(&[("cursor", &cursor), (other, "1")]);
            assert_eq!(both, Err("cursor cannot be combined with page or offset".to_owned()));
        }
        assert_eq!(
            page(&[("page", "0"), ("limit", "x"), ("cursor", "?"), ("cursor", "?")]),
            Err("cursor is given more than once; limit must be a whole number from 1 to 100; \
                 page must be a whole number from 1 to 4294967295"
                .to_owned())
        );
        assert_eq!(
            page(&[("page", "2"), ("offset", "5")]),
            Err("offset conflicts with page 2, which begins at 20; give only one of them".to_owned())
        );
    }
}
