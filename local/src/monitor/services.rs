//! The endpoints of the real services that the functions call.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::store::{LanguageUpdate, Store, Tenant};

type Shared = State<Arc<Store>>;

pub(super) fn routes() -> Router<Arc<Store>> {
    Router::new().route("/tenants/lookup", get(lookup)).route("/tenants/{id}/language", put(set_language))
}

#[derive(Debug, Deserialize)]
struct Lookup {
    phone: String,
}

async fn lookup(State(store): Shared, Query(query): Query<Lookup>) -> Response {
    store.record_lookup(&query.phone);
    if let Some(fault) = store.fault()
        && let Some(response) = fault.respond().await
    {
        return response;
    }
    let mut found: Vec<Value> =
        store.find(&query.phone).into_iter().map(|(id, tenant)| tenant_json(&id, &tenant)).collect();
    match found.len() {
        0 => (StatusCode::NOT_FOUND, Json(json!({"error": "no tenant has this number"}))).into_response(),
        1 => Json(found.remove(0)).into_response(),
        _ => Json(json!({ "tenants": found })).into_response(),
    }
}

fn tenant_json(id: &str, tenant: &Tenant) -> Value {
    let mut json = json!({ "tenant_id": id });
    if let Some(language) = &tenant.language_preference {
        json["language_preference"] = language.as_str().into();
    }
    json
}

#[derive(Debug, Deserialize)]
struct Language {
    language: String,
}

async fn set_language(
    State(store): Shared,
    Path(tenant_id): Path<String>,
    Json(body): Json<Language>,
) -> Response {
    let Language { language } = body;
    let fault = match store.fault() {
        Some(fault) => fault.respond().await,
        None => None,
    };
    let response = fault.unwrap_or_else(|| {
        let is_known = store.set_language(&tenant_id, &language);
        if is_known { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }.into_response()
    });
    store.record_update(LanguageUpdate { tenant_id, language, status: response.status().as_u16() });
    response
}
