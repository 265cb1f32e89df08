//! Lambda authorizers with simple responses, and the gateway's cache of their responses.

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

/// An authorizer's simple response.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    is_authorized: bool,
    #[serde(default)]
    context: Option<Value>,
}

/// A Lambda authorizer with its response cache.
#[derive(Debug)]
pub(super) struct Authorizer {
    spec: AuthorizerSpec,
    cache: Mutex<HashMap<Vec<String>, (Instant, Verdict)>>,
}

/// The gateway's response to a request that is not authorized.
#[derive(Debug)]
pub(super) struct Refusal(pub StatusCode, pub &'static str);

impl Authorizer {
    pub(super) fn new(spec: AuthorizerSpec) -> Self {
        Self { spec, cache: Mutex::default() }
    }

    /// Authorizes a request and returns the context for the function's event.
    ///
    /// # Errors
    ///
    /// 401 if an identity source is missing, 403 if the authorizer denies access, 500 if the authorizer fails.
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
                let response =
                    functions.invoke(&self.spec.function, event.to_string().into(), WhenBusy::Throttle).await;
                let response = response.map_err(|_: InvokeError| failed)?;
                let verdict: Verdict = serde_json::from_slice(&response)
                    .map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"))?;
                self.cache(identity, &verdict);
                verdict
            }
        };
        if verdict.is_authorized {
            Ok(verdict.context.unwrap_or_else(|| Value::Object(serde_json::Map::new())))
        } else {
            Err(Refusal(StatusCode::FORBIDDEN, "Forbidden"))
        }
    }

    /// Returns the values of all identity sources, or `None` if one is missing or empty.
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

    /// Stores a response in the cache. Without identity sources there is no cache key.
    fn cache(&self, identity: Vec<String>, verdict: &Verdict) {
        if !self.spec.ttl.is_zero() && !identity.is_empty() {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.retain(|_, (since, _)| since.elapsed() < self.spec.ttl);
            cache.insert(identity, (Instant::now(), verdict.clone()));
        }
    }
}
