//! Control API at `/stand-in` (tenants, fault, recorded calls) and the page at `/`. Neither exists in the real
//! services.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};

use super::fault::Fault;
use super::store::{Calls, Store, Tenant};

type Shared = State<Arc<Store>>;

/// Content Security Policy: the page loads nothing from other origins.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                           connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

pub(super) fn routes() -> Router<Arc<Store>> {
    Router::new()
        .route("/", get(root))
        .route("/stand-in", get(page))
        .route("/stand-in/tenants", get(tenants))
        .route("/stand-in/tenants/{id}", put(set_tenant).delete(remove_tenant))
        .route("/stand-in/fault", get(fault).put(set_fault).delete(clear_fault))
        .route("/stand-in/calls", get(calls).delete(clear_calls))
}

/// Serves the page, or the response of the active fault.
async fn root(State(store): Shared) -> Response {
    let fault = match store.fault() {
        Some(fault) => fault.respond().await,
        None => None,
    };
    match fault {
        Some(response) => response,
        None => page().await,
    }
}

async fn page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(include_str!("page.html"))).into_response()
}

async fn tenants(State(store): Shared) -> Json<BTreeMap<String, Tenant>> {
    Json(store.tenants())
}

async fn set_tenant(State(store): Shared, Path(id): Path<String>, Json(tenant): Json<Tenant>) -> StatusCode {
    store.set_tenant(id, tenant);
    StatusCode::NO_CONTENT
}

async fn remove_tenant(State(store): Shared, Path(id): Path<String>) -> StatusCode {
    if store.remove_tenant(&id) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn fault(State(store): Shared) -> Json<Option<Fault>> {
    Json(store.fault())
}

async fn set_fault(State(store): Shared, Json(fault): Json<Fault>) -> StatusCode {
    store.set_fault(Some(fault));
    StatusCode::NO_CONTENT
}

async fn clear_fault(State(store): Shared) -> StatusCode {
    store.set_fault(None);
    StatusCode::NO_CONTENT
}

async fn calls(State(store): Shared) -> Json<Calls> {
    Json(store.calls())
}

async fn clear_calls(State(store): Shared) -> StatusCode {
    store.clear_calls();
    StatusCode::NO_CONTENT
}
