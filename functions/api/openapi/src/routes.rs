//! Requests without a route: the gateway passes them on (`$default`), because it cannot return 405 itself.

use common::http::{self, HeaderValue, Response, StatusCode};
use utoipa::openapi::path::{Operation, PathItem};

/// The paths of the gateway with their methods.
#[derive(Debug)]
pub(crate) struct Routes(Vec<(String, Vec<&'static str>)>);

impl Routes {
    /// Reads the paths of the document. Those of function URLs are on other hosts.
    pub(crate) fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let paths = document.paths.paths.iter();
        let routes = paths.map(|(path, item)| (path.clone(), methods(item)));
        Self(routes.filter(|(_, methods)| !methods.is_empty()).collect())
    }

    /// Returns 405 if the path has other methods, or else 404, with a body like the gateway's.
    pub(crate) fn refuse(&self, method: &str, path: &str) -> Response {
        let known = self.0.iter().filter(|(template, _)| matches(template, path));
        let allowed: Vec<&str> = known.flat_map(|(_, methods)| methods).copied().collect();
        if allowed.is_empty() || allowed.contains(&method) {
            return message(StatusCode::NOT_FOUND, "Not Found");
        }
        let mut response = message(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        // Always valid: ASCII.
        if let Ok(allowed) = HeaderValue::try_from(allowed.join(", ")) {
            response.headers_mut().insert("allow", allowed);
        }
        response
    }
}

fn message(status: StatusCode, message: &str) -> Response {
    http::text(status, "application/json", serde_json::json!({ "message": message }).to_string())
}

/// Returns the methods of the gateway's routes for a path.
fn methods(item: &PathItem) -> Vec<&'static str> {
    let operations = [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    let mut methods = Vec::new();
    for (method, operation) in operations {
        let Some(operation) = operation.as_ref().filter(|operation| !is_at_function_url(operation)) else {
            continue;
        };
        methods.push(method);
        // Only public pages have a route for HEAD.
        if method == "GET" && !super::document::needs(operation, "api_key") {
            methods.push("HEAD");
        }
    }
    methods
}

fn is_at_function_url(operation: &Operation) -> bool {
    ["twilio_signature", "stream_token"].iter().any(|scheme| super::document::needs(operation, scheme))
}

/// Returns whether a path matches a template such as `/messages/{id}`.
fn matches(template: &str, path: &str) -> bool {
    let (mut expected, mut given) = (template.split('/'), path.split('/'));
    let all = expected.by_ref().all(|segment| {
        given
            .next()
            .is_some_and(|text| if segment.starts_with('{') { !text.is_empty() } else { text == segment })
    });
    all && given.next().is_none()
}
