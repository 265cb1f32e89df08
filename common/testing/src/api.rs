//! API Gateway events (payload format 2.0).

use serde_json::{Map, Value, json};

/// The example of the AWS documentation, see the README in its folder.
const EVENT: &str = include_str!("../../../functions/events/api-request.json");

/// The gateway's request id in every event.
pub const GATEWAY_REQUEST_ID: &str = "Xw3bFjRkIAMEPaA=";

/// The default API key id.
pub const KEY_ID: &str = "01900000-0000-7000-8000-000000000001";

/// A request to an endpoint.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    method: String,
    path: String,
    query: String,
    headers: Map<String, Value>,
    path_parameters: Map<String, Value>,
    key_id: String,
    scopes: Option<String>,
    is_unverified: bool,
    body: Option<String>,
}

impl ApiRequest {
    /// Creates a request without a body, by a key with all scopes.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: Map::new(),
            path_parameters: Map::new(),
            key_id: KEY_ID.to_owned(),
            scopes: Some("admin".to_owned()),
            is_unverified: false,
            body: None,
        }
    }

    /// Sets a path parameter, decoded, as the gateway does.
    #[must_use]
    pub fn path_parameter(mut self, name: &str, value: &str) -> Self {
        self.path_parameters.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the query string, without `?`.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// Sets a header; its name must be in lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body(&body.to_string())
    }

    /// Sets the scopes of the key.
    #[must_use]
    pub fn scopes(mut self, scopes: &str) -> Self {
        self.scopes = Some(scopes.to_owned());
        self
    }

    /// Sets the id of the key.
    #[must_use]
    pub fn key(mut self, key_id: &str) -> Self {
        key_id.clone_into(&mut self.key_id);
        self
    }

    /// Removes the authorizer context, as on a public route.
    #[must_use]
    pub fn unauthorized(mut self) -> Self {
        self.scopes = None;
        self
    }

    /// Sets a key that the authorizer could not look up.
    #[must_use]
    pub fn unverified(mut self, secret: &str) -> Self {
        self.is_unverified = true;
        self.header("authorization", &format!("Bearer {secret}"))
    }

    /// Returns the event.
    #[must_use]
    pub fn event(&self) -> Value {
        let mut event: Value = serde_json::from_str(EVENT).expect("an event");
        let path = self.path.as_str();
        event["routeKey"] = "$default".into();
        event["rawPath"] = path.into();
        event["rawQueryString"] = self.query.as_str().into();
        event["headers"] = Value::Object(self.headers.clone());
        let fields = event.as_object_mut().expect("an object");
        fields.remove("pathParameters");
        let context = &mut fields["requestContext"];
        context["routeKey"] = "$default".into();
        context["http"]["method"] = self.method.as_str().into();
        context["http"]["path"] = path.into();
        let authorizer = match &self.scopes {
            _ if self.is_unverified => Some(json!({"unverified": true})),
            Some(scopes) => Some(json!({"key_id": self.key_id, "scopes": scopes})),
            None => None,
        };
        let context = context.as_object_mut().expect("an object");
        match authorizer {
            Some(lambda) => context.insert("authorizer".to_owned(), json!({"lambda": lambda})),
            None => context.remove("authorizer"),
        };
        if !self.path_parameters.is_empty() {
            event["pathParameters"] = Value::Object(self.path_parameters.clone());
        }
        if let Some(body) = &self.body {
            event["body"] = body.as_str().into();
        }
        event
    }
}

/// Returns the body of a response as JSON.
///
/// # Panics
///
/// If the body is not JSON.
#[must_use]
pub fn body(reply: &Value) -> Value {
    serde_json::from_str(reply["body"].as_str().expect("a body")).expect("JSON")
}

/// Returns an error response as text: its status, its code and each field with its reason.
///
/// # Panics
///
/// If the body does not have the shape of an error.
#[must_use]
pub fn refusal(reply: &Value) -> String {
    let body = body(reply);
    let error = &body["error"];
    assert_eq!(body.as_object().expect("an object").len(), 1, "{body}");
    assert_eq!(error["request_id"], reply["headers"]["x-request-id"], "{reply}");
    assert!(error["timestamp"].is_string() && error["message"].is_string(), "{body}");
    let details = error["details"].as_array().expect("details").iter();
    let details: String = details
        .map(|one| format!("\n  {}: {}", one["field"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .collect();
    format!("{} {}{details}", reply["statusCode"], error["code"].as_str().unwrap())
}
