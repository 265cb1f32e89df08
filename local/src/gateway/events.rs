//! Events of payload format 2.0: API Gateway's HTTP API, its Lambda authorizers, and function URLs.
//!
//! Based on "Create AWS Lambda proxy integrations for HTTP APIs" and "Invoking Lambda function URLs" in AWS's developer
//! guides (November 2026). An HTTP API decodes `rawPath`; a function URL does not.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use serde_json::{Value, json};

use super::routes::{Matched, decoded};
use crate::clock;
use crate::template::ACCOUNT_ID;

/// The API's id in events and ARNs.
pub(super) const API_ID: &str = "local";

/// A request with its complete body.
#[derive(Debug)]
pub(super) struct Incoming {
    pub parts: Parts,
    pub body: Bytes,
    pub source: IpAddr,
    pub request_id: String,
}

impl Incoming {
    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns a header's values joined by commas.
    pub(super) fn joined(&self, name: &str) -> Option<String> {
        let values = self.parts.headers.get_all(name);
        let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// Returns the decoded query parameters. Repeated values are joined by commas.
    pub(super) fn query(&self) -> BTreeMap<String, String> {
        let mut parameters: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(self.parts.uri.query().unwrap_or_default().as_bytes()) {
            parameters
                .entry(name.into_owned())
                .and_modify(|joined| {
                    joined.push(',');
                    joined.push_str(&value);
                })
                .or_insert_with(|| value.into_owned());
        }
        parameters
    }

    fn headers(&self, port: u16) -> BTreeMap<String, String> {
        let mut headers: BTreeMap<String, String> = self
            .parts
            .headers
            .keys()
            .filter(|name| *name != http::header::COOKIE)
            .filter_map(|name| Some((name.as_str().to_owned(), self.joined(name.as_str())?)))
            .collect();
        let forwarded = match headers.get("x-forwarded-for") {
            Some(before) => format!("{before}, {}", self.source),
            None => self.source.to_string(),
        };
        headers.insert("x-forwarded-for".to_owned(), forwarded);
        headers.insert("x-forwarded-proto".to_owned(), "http".to_owned());
        headers.insert("x-forwarded-port".to_owned(), port.to_string());
        headers.entry("x-amzn-trace-id".to_owned()).or_insert_with(|| format!("Root={}", self.request_id));
        headers
    }

    fn cookies(&self) -> Vec<String> {
        let cookies = self.parts.headers.get_all(http::header::COOKIE);
        let cookies =
            cookies.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        cookies.map(|cookie| cookie.trim().to_owned()).filter(|cookie| !cookie.is_empty()).collect()
    }

    /// Returns the fields that all three events have in common.
    fn base(&self, route_key: &str, raw_path: &str, port: u16) -> Value {
        let host = self.header("host").unwrap_or("localhost");
        let now = clock::now();
        let mut event = json!({
            "version": "2.0",
            "routeKey": route_key,
            "rawPath": raw_path,
            "rawQueryString": self.parts.uri.query().unwrap_or_default(),
            "headers": self.headers(port),
            "requestContext": {
                "accountId": ACCOUNT_ID,
                "apiId": API_ID,
                "domainName": host,
                "domainPrefix": host.split('.').next().unwrap_or_default(),
                "http": {
                    "method": self.parts.method.as_str(),
                    "path": raw_path,
                    "protocol": format!("{:?}", self.parts.version),
                    "sourceIp": self.source.to_string(),
                    "userAgent": self.header("user-agent").unwrap_or_default(),
                },
                "requestId": self.request_id,
                "routeKey": route_key,
                "stage": "$default",
                "time": now.strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
                "timeEpoch": now.as_millisecond(),
            },
        });
        let query = self.query();
        if !query.is_empty() {
            event["queryStringParameters"] = json!(query);
        }
        let cookies = self.cookies();
        if !cookies.is_empty() {
            event["cookies"] = json!(cookies);
        }
        event
    }

    /// Adds the body: text unchanged, everything else in base64.
    fn add_body(&self, event: &mut Value) {
        let text = std::str::from_utf8(&self.body).ok().filter(|_| self.is_text());
        event["isBase64Encoded"] = (text.is_none() && !self.body.is_empty()).into();
        if !self.body.is_empty() {
            event["body"] = text.map_or_else(|| STANDARD.encode(&self.body), str::to_owned).into();
        }
    }

    /// Returns whether AWS passes a body of this content type as text. Forms are not text.
    fn is_text(&self) -> bool {
        let kind = self.header("content-type").unwrap_or("text/plain");
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_plain = self.header("content-encoding").is_none_or(|encoding| encoding == "identity");
        is_plain
            && (kind.starts_with("text/")
                || kind.ends_with("+json")
                || kind.ends_with("+xml")
                || ["application/json", "application/xml", "application/javascript"].contains(&kind.as_str()))
    }

    /// Returns the event for a route's function.
    pub(super) fn api_event(&self, matched: &Matched, context: Option<&Value>, port: u16) -> Value {
        let mut event = self.base(&matched.route.key(), &decoded(self.parts.uri.path()), port);
        if !matched.parameters.is_empty() {
            event["pathParameters"] = json!(matched.parameters);
        }
        if let Some(context) = context {
            event["requestContext"]["authorizer"] = json!({ "lambda": context });
        }
        self.add_body(&mut event);
        event
    }

    /// Returns the event for a route's authorizer: without the body, with the values of the identity sources.
    pub(super) fn authorizer_event(
        &self,
        matched: &Matched,
        identity: &[String],
        region: &str,
        port: u16,
    ) -> Value {
        let path = decoded(self.parts.uri.path());
        let mut event = self.base(&matched.route.key(), &path, port);
        event["type"] = "REQUEST".into();
        event["identitySource"] = json!(identity);
        event["routeArn"] = format!(
            "arn:aws:execute-api:{region}:{ACCOUNT_ID}:{API_ID}/$default/{}{path}",
            self.parts.method
        )
        .into();
        if !matched.parameters.is_empty() {
            event["pathParameters"] = json!(matched.parameters);
        }
        event
    }

    /// Returns the event for a function URL.
    pub(super) fn url_event(&self, port: u16) -> Value {
        let mut event = self.base("$default", self.parts.uri.path(), port);
        self.add_body(&mut event);
        event
    }
}
