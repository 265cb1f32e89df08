//! Function URL events with Twilio's requests. They are signed here and not with the code under test.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The auth token that tests sign with.
pub const AUTH_TOKEN: &str = "5039841236fd2a875af85e7195712dab";

/// The public base URL that tests use in signatures.
pub const BASE_URL: &str = "https://sms.example.com";

/// A webhook request from Twilio.
#[derive(Debug, Clone)]
pub struct Webhook {
    method: &'static str,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Webhook {
    /// Creates an unsigned POST with a form.
    #[must_use]
    pub fn form(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        let content_type = "application/x-www-form-urlencoded; charset=UTF-8";
        Self {
            method: "POST",
            path: path.into(),
            query: String::new(),
            headers: BTreeMap::new(),
            body: body.into(),
        }
        .header("content-type", content_type)
    }

    /// Creates an unsigned GET.
    #[must_use]
    pub fn get(path: impl Into<String>, query: &str) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            query: query.to_owned(),
            headers: BTreeMap::new(),
            body: Vec::new(),
        }
    }

    /// Changes the method.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// Changes the query string, which the signature covers.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Signs as a form with these parameters, which must match the body.
    #[must_use]
    pub fn signed(self, parameters: &[(&str, &str)]) -> Self {
        self.signed_with(AUTH_TOKEN, BASE_URL, parameters)
    }

    /// Signs only the URL: a GET, or a body with `bodySHA256`.
    #[must_use]
    pub fn signed_url(self) -> Self {
        self.signed(&[])
    }

    /// Signs with another token or base URL.
    #[must_use]
    pub fn signed_with(self, token: &str, base_url: &str, parameters: &[(&str, &str)]) -> Self {
        let mut text = format!("{base_url}{}", self.path);
        if !self.query.is_empty() {
            text.extend(["?", &self.query]);
        }
        for (key, value) in parameters.iter().collect::<BTreeSet<_>>() {
            text.extend([*key, *value]);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
        self.header("x-twilio-signature", &signature)
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the headers, including the signature.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the event with a base64 body, as function URLs encode forms.
    #[must_use]
    pub fn event(&self) -> Value {
        self.event_with(&STANDARD.encode(&self.body), true)
    }

    /// Returns the event with a text body.
    ///
    /// # Panics
    ///
    /// If the body is not UTF-8.
    #[must_use]
    pub fn text_event(&self) -> Value {
        self.event_with(std::str::from_utf8(&self.body).unwrap(), false)
    }

    fn event_with(&self, body: &str, is_base64: bool) -> Value {
        let mut event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": self.headers,
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "r3pmxmplak",
                "domainName": "r3pmxmplak.lambda-url.us-east-1.on.aws",
                "domainPrefix": "r3pmxmplak",
                "http": {
                    "method": self.method, "path": self.path, "protocol": "HTTP/1.1",
                    "sourceIp": "54.172.60.0", "userAgent": "TwilioProxy/1.1",
                },
                "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
                "routeKey": "$default",
                "stage": "$default",
                "time": "23/Nov/2026:10:00:00 +0000",
                "timeEpoch": 1_795_428_000_000_u64,
            },
            "isBase64Encoded": is_base64 && !self.body.is_empty(),
        });
        if !self.body.is_empty() {
            event["body"] = body.into();
        }
        event
    }
}
