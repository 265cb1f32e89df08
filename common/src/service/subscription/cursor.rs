//! Cursors of lists that are sorted by id.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The first byte of a cursor, so that its format can change.
const VERSION: u8 = 1;
/// Length of the check value: enough to detect mistakes. A cursor gives no access that its caller lacks.
const CHECK: usize = 4;

/// The last row of a page, opaque to callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub Uuid);

/// The text is not a cursor of these lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a next_cursor of this API")]
pub struct NotACursor;

impl Cursor {
    /// Returns the version, the id and the check value.
    fn bytes(self) -> [u8; 17 + CHECK] {
        let mut bytes = [0; 17 + CHECK];
        bytes[0] = VERSION;
        bytes[1..17].copy_from_slice(self.0.as_bytes());
        let digest = Sha256::digest(&bytes[..17]);
        bytes[17..].copy_from_slice(&digest[..CHECK]);
        bytes
    }

    /// Removes the surplus row that shows whether there is a next page, and returns the cursor of that page.
    pub fn of_page<T>(rows: &mut Vec<T>, limit: u32, id: impl Fn(&T) -> Uuid) -> Option<String> {
        let is_last = rows.len() <= limit as usize;
        rows.truncate(limit as usize);
        rows.last().filter(|_| !is_last).map(|row| Self(id(row)).to_string())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.bytes()))
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        let id = bytes.get(1..).and_then(|rest| rest.first_chunk::<16>()).ok_or(NotACursor)?;
        let cursor = Self(Uuid::from_bytes(*id));
        if bytes == cursor.bytes() { Ok(cursor) } else { Err(NotACursor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_from_its_text_and_no_other_text_is_one() {
        let cursor = Cursor(Uuid::from_u128(7));
        let text = cursor.to_string();
        assert_eq!(text.parse(), Ok(cursor));
        for other in
            ["", "1", "99999999999999999999", "%", &text[1..], &format!("{text}A"), &text.replace('A', "B")]
        {
            assert_eq!(other.parse::<Cursor>(), Err(NotACursor), "{other}");
        }
    }

    #[test]
    fn only_a_page_with_a_surplus_row_has_a_next_one() {
        let mut rows: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        assert_eq!(Cursor::of_page(&mut rows, 3, |id| *id), None);
        assert_eq!(Cursor::of_page(&mut rows, 2, |id| *id), Some(Cursor(Uuid::from_u128(2)).to_string()));
        assert_eq!(rows.len(), 2);
        assert_eq!(Cursor::of_page(&mut Vec::new(), 2, |id: &Uuid| *id), None);
    }
}
