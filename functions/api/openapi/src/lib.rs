//! GET /openapi.json, GET /docs and GET /docs/scalar.js: the OpenAPI document, and a page to read and try it.
//!
//! Reads no configuration. The document is generated at cold start from the types of the other functions.
//! Requests without a route get 405 or 404 here.

mod document;
mod examples;
mod links;
mod routes;

pub use document::document;

use common::http::{self, HeaderValue, Method, Request, RequestExt, Response, StatusCode};
use routes::Routes;

const PAGE: &str = include_str!("docs.html");
/// The renderer of the page, compressed with gzip. Its source is in `scalar/README.md`.
const SCALAR: &[u8] = include_bytes!("../scalar/standalone.js.gz");

/// The page loads nothing from other hosts. Scalar adds its style sheet at run time, which needs `unsafe-inline` for
/// styles.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; \
     style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// Clients may cache all three for five minutes: they change with deployments only.
const CACHE: &str = "public, max-age=300";

/// State built at cold start and shared by all invocations.
#[derive(Debug)]
pub struct App {
    document: String,
    routes: Routes,
}

impl App {
    /// Generates the document.
    ///
    /// # Errors
    ///
    /// When the document cannot be written as JSON.
    pub fn init() -> Result<Self, serde_json::Error> {
        let document = document();
        Ok(Self { document: serde_json::to_string(&document)?, routes: Routes::of(&document) })
    }
}

/// Returns the document, the page or its script, or that the request has no route.
#[must_use]
pub fn handle(app: &App, request: &Request) -> Response {
    let path = request.raw_http_path();
    let is_page = [Method::GET, Method::HEAD].contains(request.method());
    // A custom domain can put a prefix before our path.
    let mut response = match path {
        _ if !is_page => return app.routes.refuse(request.method().as_str(), path),
        path if path.ends_with("/openapi.json") => {
            http::text(StatusCode::OK, "application/json", app.document.clone())
        }
        path if path.ends_with("/docs") => {
            let mut page = http::text(StatusCode::OK, "text/html; charset=utf-8", PAGE);
            page.headers_mut()
                .insert("content-security-policy", HeaderValue::from_static(CONTENT_SECURITY_POLICY));
            page.headers_mut().insert("referrer-policy", HeaderValue::from_static("no-referrer"));
            page
        }
        path if path.ends_with("/docs/scalar.js") => {
            let mut script = http::binary(StatusCode::OK, "text/javascript; charset=utf-8", SCALAR);
            script.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
            script
        }
        path => return app.routes.refuse(request.method().as_str(), path),
    };
    response.headers_mut().insert("cache-control", HeaderValue::from_static(CACHE));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
