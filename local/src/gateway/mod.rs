//! The HTTP gateway: API Gateway's HTTP API, the function URLs, `/metrics`, and `/live`, a page that shows events.

mod authorizer;
mod events;
mod response;
mod routes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, Request, StatusCode};

use self::authorizer::{Authorizer, Refusal};
use self::events::Incoming;
use self::response::{api_error, buffered, from_function, from_stream, function_url_error};
use self::routes::{Matched, Route};
use crate::clock;
use crate::lambda::{Functions, InvokeError, MAX_PAYLOAD_BYTES, Output, WhenBusy};
use crate::metrics::{Format, Metrics};
use crate::template::{FunctionUrlSpec, Template};

/// An HTTP API's maximum request body: 10 MB.
const MAX_API_BODY_BYTES: usize = 10 * 1024 * 1024;

/// The HTTP gateway of the local stack.
#[derive(Debug)]
pub struct Gateway {
    functions: Arc<Functions>,
    metrics: Arc<Metrics>,
    routes: Vec<Arc<Route>>,
    authorizers: BTreeMap<String, Authorizer>,
    /// Function URLs by their path.
    function_urls: BTreeMap<String, FunctionUrlSpec>,
    region: String,
    port: u16,
}

impl Gateway {
    /// Creates a gateway for the routes and function URLs of the template. `port` appears in the events.
    #[must_use]
    pub fn new(template: &Template, functions: Arc<Functions>, metrics: Arc<Metrics>, port: u16) -> Self {
        let authorizers = template.authorizers.iter();
        let urls = template.function_urls.iter();
        Self {
            functions,
            metrics,
            routes: template.routes.iter().cloned().map(|route| Arc::new(Route::new(route))).collect(),
            authorizers: authorizers
                .map(|(name, spec)| (name.clone(), Authorizer::new(spec.clone())))
                .collect(),
            function_urls: urls.map(|url| (url.path.clone(), url.clone())).collect(),
            region: template.region().to_owned(),
            port,
        }
    }

    /// Returns the router. Serve it with the client's address as connect info.
    pub fn router(self) -> Router {
        let live = || async { Html(include_str!("live.html")) };
        Router::new()
            .route("/metrics", get(metrics))
            .route("/live", get(live))
            .fallback(serve)
            .with_state(Arc::new(self))
    }

    async fn api(&self, incoming: &Incoming) -> Response {
        let Some(matched) =
            routes::find(&self.routes, incoming.parts.method.as_str(), incoming.parts.uri.path())
        else {
            return api_error(StatusCode::NOT_FOUND, "Not Found");
        };
        if !matched.route.admits() {
            return api_error(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
        }
        let context = match self.authorized(incoming, &matched).await {
            Ok(context) => context,
            Err(Refusal(status, message)) => return api_error(status, message),
        };
        let event = incoming.api_event(&matched, context.as_ref(), self.port).to_string();
        if event.len() > MAX_PAYLOAD_BYTES {
            return api_error(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        let spec = &matched.route.spec;
        let invoked = self.functions.invoke(&spec.function, event.into(), WhenBusy::Throttle);
        match tokio::time::timeout(spec.timeout, invoked).await {
            Err(_) | Ok(Err(InvokeError::Throttled)) => {
                api_error(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
            }
            Ok(output) => output
                .ok()
                .and_then(|output| from_function(&output, &incoming.request_id))
                .unwrap_or_else(|| api_error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")),
        }
    }

    async fn authorized(
        &self,
        incoming: &Incoming,
        matched: &Matched,
    ) -> Result<Option<serde_json::Value>, Refusal> {
        let name = matched.route.spec.authorizer.as_ref();
        let Some(authorizer) = name.and_then(|name| self.authorizers.get(name)) else { return Ok(None) };
        authorizer.authorize(&self.functions, incoming, matched, &self.region, self.port).await.map(Some)
    }

    async fn function_url(&self, url: &FunctionUrlSpec, incoming: &Incoming) -> Response {
        let event = incoming.url_event(self.port).to_string();
        if event.len() > MAX_PAYLOAD_BYTES {
            return function_url_error(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        let response = match self.functions.start(&url.function, event.into(), WhenBusy::Throttle).await {
            Ok(Output::Whole(output)) => from_function(&output, &incoming.request_id),
            Ok(Output::Stream(output)) => {
                let response = from_stream(output, &incoming.request_id).await;
                if url.streams { response } else { buffered(response).await }
            }
            Err(InvokeError::Throttled) => {
                return function_url_error(StatusCode::TOO_MANY_REQUESTS, "Rate Exceeded.");
            }
            Err(_) => None,
        };
        response.unwrap_or_else(|| (StatusCode::BAD_GATEWAY, "Internal Server Error").into_response())
    }
}

async fn serve(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let url = gateway.function_urls.get(parts.uri.path());
    let refuse = if url.is_some() { function_url_error } else { api_error };
    let too_large = || refuse(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    let declared = body.size_hint().exact().unwrap_or(0);
    if declared > MAX_API_BODY_BYTES as u64 {
        return too_large();
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_API_BODY_BYTES).await else { return too_large() };
    let incoming = Incoming { parts, body, source: peer.ip(), request_id: clock::request_id() };
    match url {
        Some(url) => gateway.function_url(url, &incoming).await,
        None => gateway.api(&incoming).await,
    }
}

async fn metrics(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let accept = headers.get("accept").and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    ([("content-type", format.content_type())], gateway.metrics.prometheus(format)).into_response()
}
