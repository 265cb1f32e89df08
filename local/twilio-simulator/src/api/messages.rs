//! Twilio's REST API: Message and Account resources.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::api::auth::{Caller, caller};
use crate::api::create;
use crate::api::error::ApiError;
use crate::api::faulty::{MAX_REQUEST, respond, with_fault};
use crate::api::form::{Form, recipient};
use crate::api::list;
use crate::api::media;
use crate::api::server::Connection;
use crate::clock::now;
use crate::delivery::engine::{CreateRecord, Engine};
use crate::delivery::outbound;
use crate::faults::armed::{Facts, Met, Operation};
use crate::faults::fault::Fault;
use crate::state::change::Change;
use crate::state::message::{API_VERSION, Message};
use crate::state::plan::Plan;

type Shared = State<Arc<Engine>>;

/// Returns the routes under `/2010-04-01`.
pub(crate) fn routes(engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    let messages = format!("/{API_VERSION}/Accounts/{{account}}/Messages.json");
    let one = format!("/{API_VERSION}/Accounts/{{account}}/Messages/{{file}}");
    let account = format!("/{API_VERSION}/Accounts/{{file}}");
    Router::new()
        .route(&messages, get(list_messages).post(create_message))
        .route(&one, get(fetch_message).post(update_message).delete(delete_message))
        .route(&account, get(fetch_account))
        .merge(media::routes())
        .method_not_allowed_fallback(|| async { ApiError::of(20004) })
        .fallback(|uri: Uri| async move { ApiError::not_found(uri.path()) })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(engine), request_id))
}

/// Adds a `Twilio-Request-Id` to each response.
async fn request_id(State(engine): Shared, request: Request, next: axum::middleware::Next) -> Response {
    let mut response = next.run(request).await;
    let id = format!("RQ{}", engine.fresh_token().replace('-', ""));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("Twilio-Request-Id", id);
        response.headers_mut().insert("Twilio-Concurrent-Requests", HeaderValue::from_static("1"));
    }
    response
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn create_message(
    State(engine): Shared,
    Extension(connection): Extension<Connection>,
    Path(account): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let at = now();
    let caller = caller(&engine, request.headers(), &account)?;
    let resets = engine.faults().resets_unread(Operation::Create);
    if resets {
        return Ok(connection.reset().await);
    }
    let body = axum::body::to_bytes(request.into_body(), MAX_REQUEST).await;
    let form = Form::parse(&body.map_err(|error| ApiError::with(20001, error.to_string()))?);
    let to = form.get("To").map(|to| recipient(to).unwrap_or_else(|| to.to_owned()));
    let facts = Facts {
        to: to.as_deref().unwrap_or_default(),
        from: form.get("From").or(form.get("MessagingServiceSid")).unwrap_or_default(),
        body: form.get("Body").unwrap_or_default(),
    };
    let fault = engine.faults().meet(Operation::Create, &facts);
    engine.log_create(CreateRecord {
        at,
        to: facts.to.to_owned(),
        from: facts.from.to_owned(),
        body: facts.body.to_owned(),
        fault: fault.clone(),
    });
    let plan = fault.as_ref().map(Met::plan).unwrap_or_default();
    if let Some(Fault::Late { ms }) = fault.as_ref().map(|met| &met.fault) {
        // A separate task: it continues if the client disconnects.
        let late = late(Arc::clone(&engine), caller, form, (plan, Duration::from_millis(*ms)));
        return Ok(tokio::spawn(late).await.unwrap_or_else(|_| ApiError::of(20500).into_response()));
    }
    let run = async || run_create(&engine, caller, &form, plan).await;
    Ok(with_fault(fault, &connection, run).await)
}

async fn late(engine: Arc<Engine>, caller: Caller, form: Form, (plan, after): (Plan, Duration)) -> Response {
    tokio::time::sleep(after).await;
    run_create(&engine, caller, &form, plan).await
}

async fn run_create(engine: &Arc<Engine>, caller: Caller, form: &Form, plan: Plan) -> Response {
    match create::message(engine, caller, form, plan) {
        Ok(message) => created(engine, caller, message).await,
        Err(error) => error.into_response(),
    }
}

async fn created(engine: &Arc<Engine>, caller: Caller, message: Message) -> Response {
    let response = json_response(StatusCode::CREATED, &engine.resource(&message));
    if caller == Caller::Live {
        let early = message.plan.callbacks.early;
        let Ok(delivery) = outbound::accept(engine, message) else {
            return ApiError::of(21611).into_response();
        };
        if early {
            // The task ends with the simulator at the latest, and it does not panic.
            let _ = delivery.await;
        }
    }
    response
}

async fn list_messages(
    State(engine): Shared,
    Extension(connection): Extension<Connection>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = Form::parse(query.unwrap_or_default().as_bytes());
    let facts = Facts {
        to: query.get("To").unwrap_or_default(),
        from: query.get("From").unwrap_or_default(),
        body: "",
    };
    respond(&engine, &connection, (&headers, &account), (Operation::List, facts), async || {
        Ok(json_response(StatusCode::OK, &list::page(&engine, &query)?))
    })
    .await
}

/// Returns the SID in the last segment of a path.
fn sid(file: &str) -> &str {
    file.strip_suffix(".json").unwrap_or(file)
}

fn find(engine: &Engine, file: &str) -> Result<Message, ApiError> {
    engine.store().get(sid(file)).cloned().ok_or_else(|| absent(engine, file))
}

fn absent(engine: &Engine, file: &str) -> ApiError {
    ApiError::not_found(&format!("/{API_VERSION}/Accounts/{}/Messages/{file}", engine.config.account_sid))
}

async fn fetch_message(
    State(engine): Shared,
    Extension(connection): Extension<Connection>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    respond(&engine, &connection, (&headers, &account), (Operation::Fetch, Facts::default()), async || {
        Ok(json_response(StatusCode::OK, &engine.resource(&find(&engine, &file)?)))
    })
    .await
}

async fn update_message(
    State(engine): Shared,
    Extension(connection): Extension<Connection>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let form = Form::parse(&body);
    respond(&engine, &connection, (&headers, &account), (Operation::Update, Facts::default()), async || {
        let message = update(&engine, &file, &form)?;
        Ok(json_response(StatusCode::OK, &engine.resource(&message)))
    })
    .await
}

/// Cancels (`Status=canceled`) or redacts (`Body=`) a message.
fn update(engine: &Arc<Engine>, file: &str, form: &Form) -> Result<Message, ApiError> {
    let message = find(engine, file)?;
    match (form.get("Status"), form.present("Body")) {
        (Some("canceled"), _) => outbound::cancel(engine, sid(file)).ok_or_else(|| ApiError::of(30409)),
        (Some(other), _) => Err(ApiError::with(20001, format!("Status {other} cannot be set"))),
        (None, Some("")) if message.status.in_progress() => Err(ApiError::of(20009)),
        (None, Some("")) => {
            let redacted = engine.store().update(sid(file), |message| {
                message.body.clear();
                message.updated = now();
                true
            });
            let redacted = redacted.ok_or_else(|| absent(engine, file))?;
            engine.publish_message(&redacted);
            Ok(redacted)
        }
        (None, Some(_)) => Err(ApiError::with(20001, "Body can only be emptied")),
        (None, None) => Ok(message),
    }
}

async fn delete_message(
    State(engine): Shared,
    Extension(connection): Extension<Connection>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    respond(&engine, &connection, (&headers, &account), (Operation::Delete, Facts::default()), async || {
        if find(&engine, &file)?.status.in_progress() {
            return Err(ApiError::of(20009));
        }
        engine.store().record(Change::Deleted(sid(&file).to_owned()));
        engine.publish_change();
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

async fn fetch_account(
    State(engine): Shared,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let account = sid(&file);
    caller(&engine, &headers, account)?;
    let uri = format!("/{API_VERSION}/Accounts/{account}");
    Ok(json_response(
        StatusCode::OK,
        &json!({
            "sid": account, "owner_account_sid": account, "friendly_name": "Twilio simulator", "status": "active",
            "type": "Full", "uri": format!("{uri}.json"),
            "subresource_uris": { "messages": format!("{uri}/Messages.json") },
        }),
    ))
}
