//! `/simulator`: handsets, the ledger, faults, and live events. Not part of Twilio.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use futures::Stream;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::exchange::{CallRecord, CreateRecord, Exchange};
use super::faults::{Armed, FaultRequest};
use super::inbound::{self, Text};
use super::message::{Message, Received};
use super::store::{Change, Handset};

type Shared = State<Arc<Exchange>>;
type Refusal = (StatusCode, Json<Value>);

/// The longest outage that can be asked for.
const MAX_OUTAGE_SECONDS: f64 = 3_600.0;
/// The page may load nothing from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                           connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// The routes under `/simulator`, and the phone page at `/`.
pub(super) fn routes() -> Router<Arc<Exchange>> {
    Router::new()
        .route("/", get(page))
        .route("/simulator", get(account).delete(clear))
        .route("/simulator/ledger", get(ledger).delete(clear))
        .route("/simulator/handsets", get(handsets))
        .route("/simulator/handsets/{number}", delete(clear_handset))
        .route("/simulator/handsets/{number}/messages", get(conversation).post(send))
        .route("/simulator/faults", get(faults).post(arm).delete(disarm_all))
        .route("/simulator/faults/{id}", delete(disarm))
        .route("/simulator/outage", post(outage))
        .route("/simulator/smart-encoding", put(set_smart_encoding))
        .route("/simulator/creates", get(creates))
        .route("/simulator/webhooks", get(webhooks))
        .route("/simulator/events", get(events))
}

fn refusal(status: StatusCode, message: impl Into<String>) -> Refusal {
    (status, Json(json!({ "error": message.into() })))
}

fn unreadable(rejection: JsonRejection) -> Refusal {
    refusal(rejection.status(), rejection.body_text())
}

async fn page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(include_str!("page.html"))).into_response()
}

async fn account(State(exchange): Shared) -> Json<Value> {
    let config = &exchange.config;
    let numbers = config.numbers.iter().map(|number| {
        json!({ "number": number.number, "webhook_url": number.webhook_url, "fallback_url": number.fallback_url })
    });
    let services = config.messaging_services.iter();
    let services = services.map(|service| json!({ "sid": service.sid, "numbers": config.senders(service) }));
    Json(json!({
        "account_sid": config.account_sid,
        "numbers": numbers.collect::<Vec<_>>(),
        "messaging_services": services.collect::<Vec<_>>(),
        "smart_encoding": exchange.smart_encoding(),
    }))
}

async fn clear(State(exchange): Shared) -> StatusCode {
    exchange.store().record(Change::Cleared);
    exchange.faults().disarm(None);
    exchange.publish_change();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct LedgerQuery {
    to: Option<String>,
}

/// A number in a path or query; a `+` that was not escaped arrives as a space.
fn spelled(number: &str) -> String {
    number.replace(' ', "+")
}

async fn ledger(State(exchange): Shared, Query(query): Query<LedgerQuery>) -> Json<Vec<Received>> {
    let to = query.to.as_deref().map(spelled);
    Json(exchange.store().received(to.as_deref()))
}

async fn handsets(State(exchange): Shared) -> Json<Vec<Handset>> {
    Json(exchange.store().handsets())
}

async fn clear_handset(State(exchange): Shared, Path(number): Path<String>) -> StatusCode {
    exchange.store().record(Change::HandsetCleared(spelled(&number)));
    exchange.publish_change();
    StatusCode::NO_CONTENT
}

async fn conversation(State(exchange): Shared, Path(number): Path<String>) -> Json<Vec<Value>> {
    let messages: Vec<Message> = exchange.store().conversation(&spelled(&number));
    Json(messages.iter().map(|message| exchange.resource(message)).collect())
}

async fn send(
    State(exchange): Shared,
    Path(number): Path<String>,
    text: Result<Json<Text>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(text) = text.map_err(unreadable)?;
    // A task of its own: a text that was written is posted, whether or not somebody still waits to hear of it.
    let sent = tokio::spawn(async move { inbound::send(&exchange, &spelled(&number), text).await }).await;
    let sent = sent.map_err(|error| refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let sent = sent.map_err(|error| refusal(StatusCode::NOT_FOUND, error.to_string()))?;
    Ok(Json(json!(sent)))
}

async fn faults(State(exchange): Shared) -> Json<Vec<Armed>> {
    Json(exchange.faults().all().to_vec())
}

async fn arm(
    State(exchange): Shared,
    request: Result<Json<FaultRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Armed>), Refusal> {
    let Json(request) = request.map_err(unreadable)?;
    Ok((StatusCode::CREATED, Json(exchange.faults().arm(request))))
}

async fn disarm_all(State(exchange): Shared) -> StatusCode {
    exchange.faults().disarm(None);
    StatusCode::NO_CONTENT
}

async fn disarm(State(exchange): Shared, Path(id): Path<u64>) -> StatusCode {
    if exchange.faults().disarm(Some(id)) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutageRequest {
    seconds: f64,
}

/// Closes the listener shortly after this answer has been written.
async fn outage(
    State(exchange): Shared,
    request: Result<Json<OutageRequest>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let Json(OutageRequest { seconds }) = request.map_err(unreadable)?;
    if !(0.0..=MAX_OUTAGE_SECONDS).contains(&seconds) {
        let text = format!("seconds: {seconds} is not between 0 and {MAX_OUTAGE_SECONDS}");
        return Err(refusal(StatusCode::BAD_REQUEST, text));
    }
    let later = Arc::clone(&exchange);
    exchange.spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        later.outage(Duration::from_secs_f64(seconds));
    });
    Ok(StatusCode::ACCEPTED)
}

/// Switches Smart Encoding: `true` or `false`.
async fn set_smart_encoding(
    State(exchange): Shared,
    is_on: Result<Json<bool>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let Json(is_on) = is_on.map_err(unreadable)?;
    exchange.set_smart_encoding(is_on);
    Ok(StatusCode::NO_CONTENT)
}

async fn creates(State(exchange): Shared) -> Json<Vec<CreateRecord>> {
    Json(exchange.creates())
}

async fn webhooks(State(exchange): Shared) -> Json<Vec<CallRecord>> {
    Json(exchange.calls())
}

/// Every change of a message as it happens; `changed` says that more than one has.
async fn events(State(exchange): Shared) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = futures::stream::unfold(exchange.subscribe(), |mut events| async move {
        let event = match events.recv().await {
            Ok(event) => Event::default().data(&*event),
            Err(RecvError::Lagged(_)) => Event::default().data(json!({ "event": "changed" }).to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), events))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}
