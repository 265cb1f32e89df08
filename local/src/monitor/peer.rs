//! What the functions call.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::store::{Store, Tenant, Told};

type Shared = State<Arc<Store>>;

pub(super) fn routes() -> Router<Arc<Store>> {
    Router::new().route("/tenants/lookup", get(lookup)).route("/tenants/{id}/language", put(set_language))
}

#[derive(Debug, Deserialize)]
struct Lookup {
    phone: String,
}

async fn lookup(State(store): Shared, Query(asked): Query<Lookup>) -> Response {
    store.asked_for(&asked.phone);
    if let Some(fault) = store.fault()
        && let Some(answer) = fault.answer().await
    {
        return answer;
    }
    let mut found: Vec<Value> =
        store.find(&asked.phone).into_iter().map(|(id, tenant)| shown(&id, &tenant)).collect();
    match found.len() {
        0 => (StatusCode::NOT_FOUND, Json(json!({"error": "nobody has this number"}))).into_response(),
        1 => Json(found.remove(0)).into_response(),
        _ => Json(json!({ "tenants": found })).into_response(),
    }
}

fn shown(id: &str, tenant: &Tenant) -> Value {
    let mut shown = json!({ "tenant_id": id });
    if let Some(language) = &tenant.language_preference {
        shown["language_preference"] = language.as_str().into();
    }
    shown
}

#[derive(Debug, Deserialize)]
struct Language {
    language: String,
}

async fn set_language(
    State(store): Shared,
    Path(tenant_id): Path<String>,
    Json(wanted): Json<Language>,
) -> Response {
    let Language { language } = wanted;
    let fault = match store.fault() {
        Some(fault) => fault.answer().await,
        None => None,
    };
    let answer = fault.unwrap_or_else(|| {
        let is_known = store.set_language(&tenant_id, &language);
        if is_known { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }.into_response()
    });
    store.told(Told { tenant_id, language, status: answer.status().as_u16() });
    answer
}
