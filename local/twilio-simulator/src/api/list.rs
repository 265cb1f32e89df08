//! `GET …/Messages.json`: filters and pagination.
//!
//! <https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources>,
//! <https://www.twilio.com/docs/usage/twilios-response#pagination>

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::form::{Form, recipient};
use crate::delivery::engine::Engine;
use crate::state::message::API_VERSION;
use crate::state::store::{Cursor, Filter};

/// Twilio's default and maximum page size.
const PAGE_SIZE: (usize, usize) = (50, 1_000);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Returns one page of the message list.
///
/// # Errors
/// Error 20001 for an invalid date, page size or page token.
pub(crate) fn page(engine: &Engine, query: &Form) -> Result<Value, ApiError> {
    let filter = filter(query)?;
    let size = page_size(query)?;
    let number: usize = parsed(query, "Page")?.unwrap_or(0);
    let cursor = query.get("PageToken").map_or(Ok(Cursor::Start), cursor)?;
    let listing = engine.store().list(&filter, cursor, size);
    let backward = matches!(cursor, Cursor::Newer(_));
    let (first, last) = (listing.messages.first(), listing.messages.last());
    let older = last.filter(|_| listing.more || backward).map(|(at, _)| (number + 1, format!("PA{at:032x}")));
    let newer = first.filter(|_| if backward { listing.more } else { cursor != Cursor::Start });
    let newer = newer.map(|(at, _)| (number.saturating_sub(1), format!("PB{at:032x}")));
    let uri = |page: usize, token: Option<&str>| address(engine, query, size, page, token);
    let at = |place: Option<(usize, String)>| place.map(|(page, token)| uri(page, Some(&token)));
    let start = number * size;
    Ok(json!({
        "messages": listing.messages.iter().map(|(_, message)| engine.resource(message)).collect::<Vec<_>>(),
        "page": number,
        "page_size": size,
        "start": start,
        "end": start + listing.messages.len().saturating_sub(1),
        "uri": uri(number, query.get("PageToken")),
        "first_page_uri": uri(0, None),
        "next_page_uri": at(older),
        "previous_page_uri": at(newer),
    }))
}

fn filter(query: &Form) -> Result<Filter, ApiError> {
    let number = |key| query.get(key).map(|number| recipient(number).unwrap_or_else(|| number.to_owned()));
    let mut filter = Filter { to: number("To"), from: number("From"), ..Filter::default() };
    // `DateSent>=x` in a query is the key `DateSent>` with the value x; the SDKs write the same key.
    if let Some(span) = span(query, &["DateSent"])? {
        (filter.since, filter.before) = (Some(span.0), Some(span.1));
    }
    if let Some(span) = span(query, &["DateSent>", "DateSent>=", "DateSentAfter"])? {
        filter.since = Some(span.0);
    }
    if let Some(span) = span(query, &["DateSent<", "DateSent<=", "DateSentBefore"])? {
        filter.before = Some(span.1);
    }
    Ok(filter)
}

/// Returns the time range of a date parameter, end excluded: a day for a date, a second for a time.
fn span(query: &Form, keys: &[&str]) -> Result<Option<(Timestamp, Timestamp)>, ApiError> {
    let Some((key, text)) = keys.iter().find_map(|key| query.get(key).map(|text| (key, text))) else {
        return Ok(None);
    };
    let invalid = || ApiError::with(20001, format!("{key} {text} is not an ISO 8601 date or time"));
    let (start, length) = match text.parse::<Timestamp>() {
        Ok(time) => (time, SignedDuration::from_secs(1)),
        Err(_) => {
            let date: Date = text.parse().map_err(|_| invalid())?;
            (date.to_zoned(TimeZone::UTC).map_err(|_| invalid())?.timestamp(), DAY)
        }
    };
    let end = start.checked_add(length).map_err(|_| invalid())?;
    Ok(Some((start, end)))
}

fn page_size(query: &Form) -> Result<usize, ApiError> {
    match parsed(query, "PageSize")? {
        None => Ok(PAGE_SIZE.0),
        Some(0) => Err(ApiError::with(20001, "PageSize must be at least 1")),
        Some(size) => Ok(size.min(PAGE_SIZE.1)),
    }
}

fn parsed(query: &Form, key: &str) -> Result<Option<usize>, ApiError> {
    let invalid = |text: &str| ApiError::with(20001, format!("{key} {text} is not a number"));
    query.get(key).map(|text| text.parse().map_err(|_| invalid(text))).transpose()
}

fn cursor(token: &str) -> Result<Cursor, ApiError> {
    let invalid = || ApiError::with(20001, format!("PageToken {token} is invalid"));
    let at = |hex| u64::from_str_radix(hex, 16).map_err(|_| invalid());
    match (token.strip_prefix("PA"), token.strip_prefix("PB")) {
        (Some(hex), _) => Ok(Cursor::Older(at(hex)?)),
        (_, Some(hex)) => Ok(Cursor::Newer(at(hex)?)),
        _ => Err(invalid()),
    }
}

/// Returns the URI of another page of the same list.
fn address(engine: &Engine, query: &Form, size: usize, page: usize, token: Option<&str>) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    pairs.extend_pairs(query.pairs().filter(|(key, _)| !matches!(*key, "PageSize" | "Page" | "PageToken")));
    pairs.append_pair("PageSize", &size.to_string()).append_pair("Page", &page.to_string());
    if let Some(token) = token {
        pairs.append_pair("PageToken", token);
    }
    format!("/{API_VERSION}/Accounts/{}/Messages.json?{}", engine.config.account_sid, pairs.finish())
}
