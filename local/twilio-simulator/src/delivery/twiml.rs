//! TwiML replies: `<Message>`, with or without `<Body>`. Other verbs are ignored.
//!
//! <https://www.twilio.com/docs/messaging/twiml/message>

use crate::delivery::webhook::WebhookResponse;

/// Returns the replies in a webhook response: the `<Message>` elements of TwiML, or a plain text.
pub(crate) fn replies(response: &WebhookResponse) -> Vec<String> {
    let kind = response.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let texts = match kind.as_str() {
        "text/plain" => vec![response.body.clone()],
        "text/xml" | "application/xml" | "text/html" => messages(&response.body),
        _ => Vec::new(),
    };
    texts.into_iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
}

fn messages(document: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = document;
    while let Some((inner, after)) = element(rest, "Message") {
        let text = element(inner, "Body").map_or(inner, |(body, _)| body);
        texts.push(unescaped(text));
        rest = after;
    }
    texts
}

/// Returns the content of the first `name` element and the rest of the document.
fn element<'a>(document: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let start = document
        .match_indices(&open)
        .map(|(at, _)| at + open.len())
        .find(|at| document[*at..].starts_with(['>', '/', ' ', '\t', '\r', '\n']))?;
    let (attributes, content) = document[start..].split_once('>')?;
    if attributes.ends_with('/') {
        return Some(("", content));
    }
    content.split_once(&close)
}

/// Removes tags and resolves entities and CDATA sections.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(cdata) = rest.strip_prefix("<![CDATA[") {
            let (inside, after) = cdata.split_once("]]>").unwrap_or((cdata, ""));
            plain.push_str(inside);
            rest = after;
        } else if rest.starts_with('<') {
            rest = rest.split_once('>').map_or("", |(_, after)| after);
        } else {
            let known = rest.split_once(';').and_then(|(name, after)| Some((entity(&name[1..])?, after)));
            let (c, after) = known.unwrap_or(('&', &rest[1..]));
            plain.push(c);
            rest = after;
        }
    }
    plain + rest
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(body: &str) -> Vec<String> {
        replies(&WebhookResponse {
            content_type: "text/xml; charset=utf-8".to_owned(),
            body: body.to_owned(),
        })
    }

    #[test]
    fn twiml_messages_are_replies() {
        assert_eq!(xml("<Response/>"), Vec::<String>::new());
        assert_eq!(xml("<Response><Message>Hi &amp; bye &#233;</Message></Response>"), ["Hi & bye é"]);
        let two = "<Response><Message to=\"+1\"><Body><![CDATA[a<b]]></Body><Media>x</Media></Message>\
                   <Message>c</Message></Response>";
        assert_eq!(xml(two), ["a<b", "c"]);
        assert_eq!(xml("<Response><Message/><Message>1 &unknown; &</Message></Response>"), ["1 &unknown; &"]);
    }

    #[test]
    fn a_plain_text_response_is_a_reply_but_json_is_not() {
        let response =
            |kind: &str| WebhookResponse { content_type: kind.to_owned(), body: " hello ".to_owned() };
        assert_eq!(replies(&response("text/plain")), ["hello"]);
        assert!(replies(&response("application/json")).is_empty());
        assert!(replies(&WebhookResponse::default()).is_empty());
    }
}
