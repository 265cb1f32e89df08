//! Lambda authorizers with simple responses, and the gateway's cache of their answers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::events::Incoming;
use super::routes::Matched;
use crate::lambda::{Functions, InvokeError, WhenBusy};
use crate::template::AuthorizerSpec;

/// An authorizer's answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    is_authorized: bool,
    #[serde(default)]
    context: Option<Value>,
}

/// One authorizer.
#[derive(Debug)]
pub(super) struct Authorizer {
    spec: AuthorizerSpec,
    cache: Mutex<HashMap<Vec<String>, (Instant, Verdict)>>,
}

/// The gateway's own answer to a request that is not let through.
#[derive(Debug)]
pub(super) struct Refusal(pub StatusCode, pub &'static str);

impl Authorizer {
    pub(super) fn new(spec: AuthorizerSpec) -> Self {
        Self { spec, cache: Mutex::default() }
    }

    /// The context that the authorizer hands on to the function.
    ///
    /// # Errors
    ///
    /// 401 without an identity to ask about, 403 if it is refused, 500 if the authorizer failed.
    pub(super) async fn authorize(
        &self,
        functions: &Functions,
        incoming: &Incoming,
        matched: &Matched,
        region: &str,
        port: u16,
    ) -> Result<Value, Refusal> {
        let identity = self.identity(incoming).ok_or(Refusal(StatusCode::UNAUTHORIZED, "Unauthorized"))?;
        let verdict = match self.cached(&identity) {
            Some(verdict) => verdict,
            None => {
                let event = incoming.authorizer_event(matched, &identity, region, port);
                let failed = Refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
                let answer =
                    functions.invoke(&self.spec.function, event.to_string().into(), WhenBusy::Throttle).await;
                let answer = answer.map_err(|_: InvokeError| failed)?;
                let verdict: Verdict = serde_json::from_slice(&answer)
                    .map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"))?;
                self.keep(identity, &verdict);
                verdict
            }
        };
        if verdict.is_authorized {
            Ok(verdict.context.unwrap_or_else(|| Value::Object(serde_json::Map::new())))
        } else {
            Err(Refusal(StatusCode::FORBIDDEN, "Forbidden"))
        }
    }

    /// The values of all identity sources; `None` if one is missing or empty.
    fn identity(&self, incoming: &Incoming) -> Option<Vec<String>> {
        let query = incoming.query();
        let headers = self.spec.headers.iter().map(|name| incoming.joined(name));
        let parameters = self.spec.query.iter().map(|name| query.get(name).cloned());
        headers.chain(parameters).map(|value| value.filter(|value| !value.is_empty())).collect()
    }

    fn cached(&self, identity: &[String]) -> Option<Verdict> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, verdict) = cache.get(identity)?;
        if since.elapsed() < self.spec.ttl {
            return Some(verdict.clone());
        }
        cache.remove(identity);
        None
    }

    /// Without an identity source there is nothing to cache by.
    fn keep(&self, identity: Vec<String>, verdict: &Verdict) {
        if !self.spec.ttl.is_zero() && !identity.is_empty() {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.retain(|_, (since, _)| since.elapsed() < self.spec.ttl);
            cache.insert(identity, (Instant::now(), verdict.clone()));
        }
    }
}
