//! Emulates Secrets Manager: the actions that the functions, and operators who rotate a secret, need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::clock;
use crate::template::ACCOUNT_ID;

/// The largest request: Secrets Manager limits a secret to 64 KiB.
const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// The secrets of the local stack, by name. They are not kept across restarts.
#[derive(Debug)]
pub(crate) struct SecretsManager {
    values: Mutex<BTreeMap<String, String>>,
    region: String,
}

impl SecretsManager {
    pub(crate) fn new(region: &str) -> Self {
        Self { values: Mutex::default(), region: region.to_owned() }
    }

    /// Stores a secret, and returns its ARN.
    pub(crate) fn put(&self, name: &str, value: &Value) -> String {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value.to_string());
        self.arn(name)
    }

    fn arn(&self, name: &str) -> String {
        format!("arn:aws:secretsmanager:{}:{ACCOUNT_ID}:secret:{name}", self.region)
    }

    fn act(&self, action: &str, input: &Value) -> Result<Value, (&'static str, String)> {
        let id = input["SecretId"].as_str().unwrap_or_default();
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let found = values.iter_mut().find(|(name, _)| *name == id || self.arn(name) == id);
        let Some((name, value)) = found else {
            let message = "Secrets Manager can't find the specified secret.";
            return Err(("ResourceNotFoundException", message.to_owned()));
        };
        let arn = self.arn(name);
        match action {
            "GetSecretValue" => Ok(json!({
                "ARN": arn, "Name": name, "SecretString": value, "VersionStages": ["AWSCURRENT"],
            })),
            "PutSecretValue" => {
                let Some(new) = input["SecretString"].as_str() else {
                    return Err(("InvalidParameterException", "SecretString is missing".to_owned()));
                };
                new.clone_into(value);
                Ok(json!({ "ARN": arn, "Name": name, "VersionStages": ["AWSCURRENT"] }))
            }
            _ => Err(("UnknownOperationException", format!("{action} is not emulated"))),
        }
    }
}

/// Answers requests for Secrets Manager, which SDKs send to the path `/` like those for SQS, and passes on all others.
pub(crate) async fn intercept(
    State(secrets): State<Arc<SecretsManager>>,
    request: Request,
    next: Next,
) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let Some(action) = target.and_then(|target| target.strip_prefix("secretsmanager.")).map(str::to_owned)
    else {
        return next.run(request).await;
    };
    let body = axum::body::to_bytes(request.into_body(), MAX_REQUEST_BYTES).await.unwrap_or_default();
    let outcome = match serde_json::from_slice(&body) {
        Ok(input) => secrets.act(&action, &input),
        Err(error) => Err(("SerializationException", format!("The request is not valid JSON: {error}"))),
    };
    let headers = [
        ("content-type", "application/x-amz-json-1.1".to_owned()),
        ("x-amzn-requestid", clock::request_id()),
    ];
    match outcome {
        Ok(output) => (headers, output.to_string()).into_response(),
        Err((kind, message)) => {
            (StatusCode::BAD_REQUEST, headers, json!({ "__type": kind, "message": message }).to_string())
                .into_response()
        }
    }
}
