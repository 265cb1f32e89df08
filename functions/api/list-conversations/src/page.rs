//! Filters and pagination of the list.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::db::conversations::{Filter, Position};
use common::domain::language::Language;
use common::http::{Parameters, ValidationError};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt;
use uuid::Uuid;

/// Default number of conversations per page.
const DEFAULT_LIMIT: u32 = 20;
/// Maximum number of conversations per page.
const MAX_LIMIT: u32 = 100;

/// The parameters of the endpoint.
const NAMES: &[&str] =
    &["tenant_id", "workflow_type", "language", "unknown", "opted_out", "since", "cursor", "limit"];

/// The requested page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Which conversations are listed.
    pub filter: Filter,
    /// The last conversation of the previous page.
    pub after: Option<Position>,
    /// Maximum number of conversations, 1 to 100.
    pub limit: u32,
}

impl Page {
    /// Reads the parameters of the endpoint, and ignores others.
    ///
    /// # Errors
    ///
    /// [`ValidationError`] with all invalid parameters.
    pub fn from_query(query: impl Iterator<Item = (String, String)>) -> Result<Self, ValidationError> {
        let mut given = Parameters::read(query, NAMES);
        let filter = Filter {
            tenant_id: given.text("tenant_id"),
            workflow_type: given.text("workflow_type"),
            language: given.one_of::<Language>("language", "en, es, pt or unknown"),
            unknown: given.flag("unknown"),
            opted_out: given.flag("opted_out"),
            // Nothing is older than 1970, and Postgres rejects some earlier timestamps that jiff accepts.
            since: given.instant("since").map(|since| since.max(Timestamp::UNIX_EPOCH)),
        };
        if filter.tenant_id.is_some() && filter.unknown == Some(true) {
            given.problem("unknown", "cannot be true together with a tenant_id");
        }
        let limit = given.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
        let after = given.text("cursor").and_then(|text| {
            Cursor::read(&text, &filter).map_err(|error| given.problem("cursor", error.to_string())).ok()
        });
        given.check()?;
        Ok(Self { filter, after, limit })
    }
}

/// The last conversation of the previous page and a check value, opaque to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    position: Position,
    check: [u8; CHECK],
}

/// The first byte of a cursor, so that its format can change.
const VERSION: u8 = 1;
/// Length of the check value: enough to detect mistakes. A cursor gives no access that its caller lacks.
const CHECK: usize = 4;

/// The text is not a cursor for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a next_cursor of this API for the same filters")]
pub struct NotACursor;

impl Cursor {
    /// Creates the cursor of a position in the list with a filter.
    #[must_use]
    pub fn new(position: Position, filter: &Filter) -> Self {
        let Filter { tenant_id, workflow_type, language, unknown, opted_out, since } = filter;
        let language = language.map(Language::as_str);
        // Each value with its length or presence, so that different filters have different texts.
        let filters =
            format!("{tenant_id:?} {workflow_type:?} {language:?} {unknown:?} {opted_out:?} {since:?}");
        let digest = Sha256::new().chain_update(Self::place(position)).chain_update(filters).finalize();
        let mut check = [0; CHECK];
        check.copy_from_slice(&digest[..CHECK]);
        Self { position, check }
    }

    /// Reads the cursor of a request with a filter, and returns its position.
    ///
    /// # Errors
    ///
    /// An error when it was changed, or belongs to a request with other filters.
    pub fn read(text: &str, filter: &Filter) -> Result<Position, NotACursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        let (version, rest) = bytes.split_first().ok_or(NotACursor)?;
        let (micros, rest) = rest.split_first_chunk::<8>().ok_or(NotACursor)?;
        let (id, check) = rest.split_first_chunk::<16>().ok_or(NotACursor)?;
        // Before 1970 there are no conversations.
        let micros = u64::from_be_bytes(*micros).try_into().map_err(|_| NotACursor)?;
        let active_at = Timestamp::from_microsecond(micros).map_err(|_| NotACursor)?;
        let position = Position { active_at, id: Uuid::from_bytes(*id).into() };
        let is_ours = *version == VERSION && check == Self::new(position, filter).check;
        if is_ours { Ok(position) } else { Err(NotACursor) }
    }

    /// Microseconds since 1970 and the id.
    fn place(position: Position) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&position.active_at.as_microsecond().to_be_bytes());
        bytes[8..].copy_from_slice(position.id.uuid().as_bytes());
        bytes
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[VERSION][..], &Self::place(self.position), &self.check].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &[(&str, &str)]) -> Result<Page, String> {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Page::from_query(query).map_err(|error| error.sentences())
    }

    fn position() -> Position {
        Position { active_at: "2026-11-01T12:00:00.123456Z".parse().unwrap(), id: Uuid::from_u128(7).into() }
    }

    #[test]
    fn all_filters_are_read() {
        let query = [
            ("tenant_id", "t-1"),
            ("workflow_type", "collections"),
            ("language", "es"),
            ("unknown", "false"),
            ("opted_out", "true"),
            ("since", "2026-11-01T13:00:00+01:00"),
            ("limit", "7"),
            ("other", "x"),
        ];
        let filter = Filter {
            tenant_id: Some("t-1".to_owned()),
            workflow_type: Some("collections".to_owned()),
            language: Some(Language::Es),
            unknown: Some(false),
            opted_out: Some(true),
            since: "2026-11-01T12:00:00Z".parse().ok(),
        };
        assert_eq!(page(&query), Ok(Page { filter, after: None, limit: 7 }));
        assert_eq!(page(&[]), Ok(Page { filter: Filter::default(), after: None, limit: 20 }));
    }

    #[test]
    fn a_cursor_is_read_from_its_text_with_the_same_filter() {
        let filter = Filter { language: Some(Language::Es), ..Filter::default() };
        let text = Cursor::new(position(), &filter).to_string();
        assert_eq!(Cursor::read(&text, &filter), Ok(position()));
        assert_eq!(page(&[("cursor", &text), ("language", "es")]).unwrap().after, Some(position()));
        let of_others = [
            Filter::default(),
            Filter { language: Some(Language::Pt), ..Filter::default() },
            Filter { opted_out: Some(false), ..filter },
        ];
        for other in of_others {
            assert_eq!(Cursor::read(&text, &other), Err(NotACursor), "{other:?}");
        }
    }

    #[test]
    fn a_changed_cursor_is_refused() {
        let filter = Filter::default();
        let bytes = URL_SAFE_NO_PAD.decode(Cursor::new(position(), &filter).to_string()).unwrap();
        for byte in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[byte] ^= 1 << bit;
                assert_eq!(
                    Cursor::read(&URL_SAFE_NO_PAD.encode(changed), &filter),
                    Err(NotACursor),
                    "{byte} {bit}"
                );
            }
        }
        let longer = [&bytes[..], &[0]].concat();
        for text in ["", "x", "AAAA", &URL_SAFE_NO_PAD.encode(&bytes[1..]), &URL_SAFE_NO_PAD.encode(longer)] {
            assert_eq!(Cursor::read(text, &filter), Err(NotACursor), "{text}");
        }
    }

    #[test]
    fn invalid_parameters_are_refused_with_all_reasons() {
        let problems = page(&[
            ("language", "fr"),
            ("unknown", "1"),
            ("opted_out", ""),
            ("since", "yesterday"),
            ("limit", "101"),
            ("cursor", "x"),
            ("tenant_id", ""),
            ("workflow_type", "a\0"),
        ]);
        let reasons = [
            "tenant_id is empty",
            "workflow_type contains a NUL character",
            "language must be en, es, pt or unknown",
            "unknown must be true or false",
            "opted_out must be true or false",
            "since is not an instant with its offset, such as 2026-11-23T10:00:00Z",
            "limit must be a whole number from 1 to 100",
            "cursor is not a next_cursor of this API for the same filters",
        ];
        assert_eq!(problems, Err(reasons.join("; ")));
        assert_eq!(
            page(&[("tenant_id", "t-1"), ("unknown", "true")]),
            Err("unknown cannot be true together with a tenant_id".to_owned())
        );
    }
}
