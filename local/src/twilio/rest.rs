//! Twilio's REST API, as far as messages go.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::{Value, json};

use super::auth::{Caller, caller};
use super::clock::{now, rfc2822};
use super::create::{self, Form};
use super::error::ApiError;
use super::exchange::{CreateRecord, Exchange};
use super::faults::{Facts, Fault, Met, Operation, Plan};
use super::list;
use super::message::{API_VERSION, Message};
use super::server::Connection;
use super::store::Change;

/// The largest request that is read.
const MAX_REQUEST: usize = 256 * 1024;

/// Time enough to write half an answer.
const FLUSH: Duration = Duration::from_millis(20);

type Shared = State<Arc<Exchange>>;

/// The routes under `/2010-04-01`.
pub(super) fn routes(exchange: &Arc<Exchange>) -> Router<Arc<Exchange>> {
    let messages = format!("/{API_VERSION}/Accounts/{{account}}/Messages.json");
    let one = format!("/{API_VERSION}/Accounts/{{account}}/Messages/{{file}}");
    let media = format!("/{API_VERSION}/Accounts/{{account}}/Messages/{{sid}}/Media.json");
    let account = format!("/{API_VERSION}/Accounts/{{file}}");
    Router::new()
        .route(&messages, get(list_messages).post(create_message))
        .route(&one, get(fetch_message).post(update_message).delete(delete_message))
        .route(&media, get(list_media))
        .route(&account, get(fetch_account))
        .method_not_allowed_fallback(|| async { ApiError::of(20004) })
        .fallback(|uri: Uri| async move { ApiError::not_found(uri.path()) })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(exchange), request_id))
}

/// Puts a `Twilio-Request-Id` on every answer.
async fn request_id(State(exchange): Shared, request: Request, next: axum::middleware::Next) -> Response {
    let mut response = next.run(request).await;
    let id = format!("RQ{}", exchange.fresh_token().replace('-', ""));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("Twilio-Request-Id", id);
        response.headers_mut().insert("Twilio-Concurrent-Requests", HeaderValue::from_static("1"));
    }
    response
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn create_message(
    State(exchange): Shared,
    Extension(connection): Extension<Connection>,
    Path(account): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let at = now();
    let caller = caller(&exchange.config, request.headers(), &account)?;
    let resets = exchange.faults().resets_unread(Operation::Create);
    if resets {
        return Ok(connection.reset().await);
    }
    let body = axum::body::to_bytes(request.into_body(), MAX_REQUEST).await;
    let form = Form::parse(&body.map_err(|error| ApiError::with(20001, error.to_string()))?);
    let to = form.get("To").map(|to| create::recipient(to).unwrap_or_else(|| to.to_owned()));
    let facts = Facts {
        to: to.as_deref().unwrap_or_default(),
        from: form.get("From").or(form.get("MessagingServiceSid")).unwrap_or_default(),
        body: form.get("Body").unwrap_or_default(),
    };
    let fault = exchange.faults().meet(Operation::Create, &facts);
    exchange.log_create(CreateRecord {
        at,
        to: facts.to.to_owned(),
        from: facts.from.to_owned(),
        body: facts.body.to_owned(),
        fault: fault.clone(),
    });
    let plan = fault.as_ref().map(Met::plan).unwrap_or_default();
    if let Some(Fault::Late { ms }) = fault.as_ref().map(|met| &met.fault) {
        // A task of its own: it is not given up when the client is.
        let late = late(Arc::clone(&exchange), caller, form, (plan, Duration::from_millis(*ms)));
        return Ok(tokio::spawn(late).await.unwrap_or_else(|_| ApiError::of(20500).into_response()));
    }
    let run = async || run_create(&exchange, caller, &form, plan).await;
    Ok(with_fault(fault, &connection, run).await)
}

async fn late(
    exchange: Arc<Exchange>,
    caller: Caller,
    form: Form,
    (plan, after): (Plan, Duration),
) -> Response {
    tokio::time::sleep(after).await;
    run_create(&exchange, caller, &form, plan).await
}

async fn run_create(exchange: &Arc<Exchange>, caller: Caller, form: &Form, plan: Plan) -> Response {
    match create::message(exchange, caller, form, plan) {
        Ok(message) => created(exchange, caller, message).await,
        Err(error) => error.into_response(),
    }
}

async fn created(exchange: &Arc<Exchange>, caller: Caller, message: Message) -> Response {
    let answer = json_answer(StatusCode::CREATED, &exchange.resource(&message));
    if caller == Caller::Live {
        let early = message.plan.callbacks.early;
        let Ok(journey) = exchange.accept(message) else { return ApiError::of(21611).into_response() };
        if early {
            // It ends with the simulator at the latest, and cannot panic.
            let _ = journey.await;
        }
    }
    answer
}

/// Answers a request that meets what `met` says; `run` does what was asked for and makes the ordinary answer.
async fn with_fault(
    met: Option<Met>,
    connection: &Connection,
    run: impl AsyncFnOnce() -> Response,
) -> Response {
    match met.map(|met| met.fault) {
        Some(Fault::ResetBeforeRead {}) => connection.reset().await,
        Some(Fault::ResetAfterRead { accept }) => {
            if accept {
                run().await;
            }
            connection.reset().await
        }
        Some(Fault::Hang { accept, seconds }) => {
            if accept {
                run().await;
            }
            match seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
            connection.reset().await
        }
        Some(Fault::ServerError { accept, status }) => {
            if accept {
                run().await;
            }
            let code = if status == 503 { 20503 } else { 20500 };
            ApiError { status, ..ApiError::of(code) }.into_response()
        }
        Some(Fault::RateLimited { retry_after }) => {
            let mut response = ApiError::of(20429).into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        Some(Fault::Truncated {}) => truncated(run().await).await,
        Some(Fault::Garbled {}) => {
            let status = run().await.status();
            (status, [(header::CONTENT_TYPE, "text/html")], "<html><body>Bad gateway</body></html>")
                .into_response()
        }
        Some(Fault::Slow { ms }) => {
            let response = run().await;
            tokio::time::sleep(Duration::from_millis(ms)).await;
            response
        }
        Some(Fault::Error { code, status }) => {
            let error = ApiError::of(code);
            ApiError { status: status.unwrap_or(error.status), ..error }.into_response()
        }
        _ => run().await,
    }
}

/// The same answer, broken off in the middle of its body.
async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, MAX_REQUEST).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let half = whole.slice(..whole.len() / 2);
    let first = futures::stream::once(async { Ok(half) });
    let rest = futures::stream::once(async {
        // The half that there is goes out while this waits.
        tokio::time::sleep(FLUSH).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    let broken = first.chain(rest);
    Response::from_parts(parts, Body::from_stream(broken))
}

/// Authenticates, and lets the request meet its fault, for everything but creating.
async fn other(
    exchange: &Arc<Exchange>,
    connection: &Connection,
    (headers, account): (&HeaderMap, &str),
    (operation, facts): (Operation, Facts<'_>),
    run: impl AsyncFnOnce() -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    caller(&exchange.config, headers, account)?;
    let fault = exchange.faults().meet(operation, &facts);
    Ok(with_fault(fault, connection, async || run().await.into_response()).await)
}

async fn list_messages(
    State(exchange): Shared,
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
    other(&exchange, &connection, (&headers, &account), (Operation::List, facts), async || {
        Ok(json_answer(StatusCode::OK, &list::page(&exchange, &query)?))
    })
    .await
}

/// The SID in a path's last part.
fn sid(file: &str) -> &str {
    file.strip_suffix(".json").unwrap_or(file)
}

fn find(exchange: &Exchange, file: &str) -> Result<Message, ApiError> {
    exchange.store().get(sid(file)).cloned().ok_or_else(|| absent(exchange, file))
}

fn absent(exchange: &Exchange, file: &str) -> ApiError {
    ApiError::not_found(&format!("/{API_VERSION}/Accounts/{}/Messages/{file}", exchange.config.account_sid))
}

async fn fetch_message(
    State(exchange): Shared,
    Extension(connection): Extension<Connection>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    other(&exchange, &connection, (&headers, &account), (Operation::Fetch, Facts::default()), async || {
        Ok(json_answer(StatusCode::OK, &exchange.resource(&find(&exchange, &file)?)))
    })
    .await
}

async fn update_message(
    State(exchange): Shared,
    Extension(connection): Extension<Connection>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let form = Form::parse(&body);
    other(&exchange, &connection, (&headers, &account), (Operation::Update, Facts::default()), async || {
        let message = update(&exchange, &file, &form)?;
        Ok(json_answer(StatusCode::OK, &exchange.resource(&message)))
    })
    .await
}

/// Cancels (`Status=canceled`) or redacts (`Body=`).
fn update(exchange: &Arc<Exchange>, file: &str, form: &Form) -> Result<Message, ApiError> {
    let message = find(exchange, file)?;
    match (form.get("Status"), form.present("Body")) {
        (Some("canceled"), _) => exchange.cancel(sid(file)).ok_or_else(|| ApiError::of(30409)),
        (Some(other), _) => Err(ApiError::with(20001, format!("Status {other} cannot be set"))),
        (None, Some("")) if message.status.in_progress() => Err(ApiError::of(20009)),
        (None, Some("")) => {
            let redacted = exchange.store().update(sid(file), |message| {
                message.body.clear();
                message.updated = now();
                true
            });
            let redacted = redacted.ok_or_else(|| absent(exchange, file))?;
            exchange.publish_message(&redacted);
            Ok(redacted)
        }
        (None, Some(_)) => Err(ApiError::with(20001, "Body can only be emptied")),
        (None, None) => Ok(message),
    }
}

async fn delete_message(
    State(exchange): Shared,
    Extension(connection): Extension<Connection>,
    Path((account, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    other(&exchange, &connection, (&headers, &account), (Operation::Delete, Facts::default()), async || {
        if find(&exchange, &file)?.status.in_progress() {
            return Err(ApiError::of(20009));
        }
        exchange.store().record(Change::Deleted(sid(&file).to_owned()));
        exchange.publish_change();
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

async fn list_media(
    State(exchange): Shared,
    Path((account, message_sid)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller(&exchange.config, &headers, &account)?;
    let message = find(&exchange, &message_sid)?;
    let uri = format!("/{API_VERSION}/Accounts/{account}/Messages/{message_sid}/Media");
    let media_list: Vec<Value> = message.media.iter().map(|media| {
        json!({
            "sid": media.sid, "account_sid": account, "parent_sid": message_sid, "content_type": media.content_type,
            "date_created": rfc2822(message.created), "date_updated": rfc2822(message.updated),
            "uri": format!("{uri}/{}.json", media.sid),
        })
    }).collect();
    let end = media_list.len().saturating_sub(1);
    let page = format!("{uri}.json?PageSize=50&Page=0");
    Ok(json_answer(
        StatusCode::OK,
        &json!({
            "media_list": media_list, "page": 0, "page_size": 50, "start": 0, "end": end, "uri": page,
            "first_page_uri": page, "next_page_uri": null, "previous_page_uri": null,
        }),
    ))
}

async fn fetch_account(
    State(exchange): Shared,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let account = sid(&file);
    caller(&exchange.config, &headers, account)?;
    let uri = format!("/{API_VERSION}/Accounts/{account}");
    Ok(json_answer(
        StatusCode::OK,
        &json!({
            "sid": account, "owner_account_sid": account, "friendly_name": "Twilio simulator", "status": "active",
            "type": "Full", "uri": format!("{uri}.json"),
            "subresource_uris": { "messages": format!("{uri}/Messages.json") },
        }),
    ))
}
