//! GET /openapi.json and GET /docs: the contract, made of the functions' own types, and a page to read and try it.
//!
//! Needs nothing of its environment. The document is written once, at start. The page is one file without anything
//! from elsewhere, and its content security policy allows its own script and style by their hashes, and nothing else.

mod document;

pub use document::document;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::http::{ApiError, Reply, Request};
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("docs.css");
const SCRIPT: &str = include_str!("docs.js");
const PAGE: &str = include_str!("docs.html");

/// How long clients may keep either, in seconds: both change with deployments only.
const CACHE: &str = "public, max-age=300";

/// What is built once and borrowed by every event.
#[derive(Debug)]
pub struct App {
    document: String,
    page: String,
    policy: String,
}

impl App {
    /// Writes the document and the page.
    ///
    /// # Errors
    ///
    /// When the document has no JSON form: the function can't start.
    pub fn init() -> Result<Self, serde_json::Error> {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        Ok(Self {
            document: serde_json::to_string(&document())?,
            page: PAGE.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT),
            policy: format!(
                "default-src 'none'; connect-src 'self'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                hash(STYLE),
                hash(SCRIPT)
            ),
        })
    }
}

/// Answers with the document or the page.
///
/// # Errors
///
/// [`ApiError::NotFound`] for any other path, which only a wrong route in the template can bring here.
pub fn handle(app: &App, request: &Request) -> Result<Reply, ApiError> {
    let reply = match request.raw_path() {
        path if path.ends_with("/openapi.json") => Reply::new(200, "application/json", app.document.clone()),
        path if path.trim_end_matches('/').ends_with("/docs") => {
            Reply::new(200, "text/html; charset=utf-8", app.page.clone())
                .with_header("content-security-policy", app.policy.clone())
                .with_header("referrer-policy", "no-referrer")
        }
        _ => return Err(ApiError::NotFound("the page")),
    };
    Ok(reply.with_header("cache-control", CACHE).with_header("x-content-type-options", "nosniff"))
}
