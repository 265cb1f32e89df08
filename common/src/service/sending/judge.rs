//! Validation of a request beyond the types of its fields.

use super::SendRequest;
use crate::http::ValidationError;
use jiff::Timestamp;
use url::Url;

/// The longest text, in Unicode scalar values (Twilio's limit).
pub const MAX_BODY: usize = 1_600;
/// How many files Twilio accepts per message.
const MAX_MEDIA: usize = 10;
/// The longest workflow type and id, in characters.
const MAX_WORKFLOW: usize = 255;

/// Validates all fields but recipient and sender, and adds problems to `problems`.
pub fn judge(wanted: &SendRequest, now: Timestamp, problems: &mut ValidationError) {
    content(wanted, problems);
    times(wanted, now, problems);
    for (field, value) in [("workflow_type", &wanted.workflow_type), ("workflow_id", &wanted.workflow_id)] {
        if value.as_ref().is_some_and(|value| value.chars().count() > MAX_WORKFLOW) {
            problems.add(field, format!("has more than {MAX_WORKFLOW} characters"));
        }
    }
}

fn content(wanted: &SendRequest, problems: &mut ValidationError) {
    let media = wanted.media_urls.as_deref().unwrap_or_default();
    match wanted.body.as_deref() {
        None if media.is_empty() => problems.add_once("body", "is missing, and there are no media_urls"),
        Some(body) if body.trim().is_empty() && media.is_empty() => {
            problems.add("body", "is blank, and there are no media_urls");
        }
        Some(body) if body.chars().count() > MAX_BODY => {
            let characters = body.chars().count();
            problems.add("body", format!("has {characters} characters; {MAX_BODY} are allowed"));
        }
        _ => {}
    }
    if media.len() > MAX_MEDIA {
        problems.add("media_urls", format!("has {} entries; {MAX_MEDIA} are allowed", media.len()));
        return;
    }
    for (position, url) in media.iter().enumerate() {
        if !is_public_address(url) {
            problems.add(format!("media_urls[{position}]"), "is not an http or https URL");
        }
    }
}

fn is_public_address(text: &str) -> bool {
    // The parser accepts white space and control characters, Twilio does not.
    let is_clean = !text.chars().any(|character| character.is_whitespace() || character.is_control());
    is_clean && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn times(wanted: &SendRequest, now: Timestamp, problems: &mut ValidationError) {
    if wanted.send_at.is_some_and(|at| at < now) {
        problems.add("send_at", "has passed");
    }
    match (wanted.send_before, wanted.send_at) {
        (Some(before), _) if before <= now => problems.add("send_before", "has passed"),
        (Some(before), Some(at)) if before <= at => problems.add("send_before", "must be later than send_at"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_urls_must_be_absolute_http_urls() {
        for good in ["https://a.example/x.png", "http://a.example", "HTTPS://a.example/%20?q=1#f"] {
            assert!(is_public_address(good), "{good}");
        }
        for bad in [
            "",
            "a.example/x",
            "ftp://a.example",
            "file:///etc/passwd",
            "https://",
            " https://a.example",
            "https://a.example/\n",
        ] {
            assert!(!is_public_address(bad), "{bad:?}");
        }
    }
}
