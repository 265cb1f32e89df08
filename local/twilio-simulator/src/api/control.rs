//! The control API under `/simulator`: handsets, ledger, faults, outages and events. Not part of Twilio.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use futures::Stream;
use http::{HeaderValue, StatusCode, header};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::api::media;
use crate::config::Credentials;
use crate::delivery::engine::{CallRecord, CreateRecord, Engine, MediaRequest, Refusal as RefusedRequest};
use crate::delivery::inbound::{self, Text, Unsendable};
use crate::faults::armed::{Armed, FaultRequest};
use crate::state::change::Change;
use crate::state::message::{MAX_MEDIA, MAX_MEDIA_BYTES, Message, Received};
use crate::state::store::Handset;

type Shared = State<Arc<Engine>>;
type Refusal = (StatusCode, Json<Value>);

/// The longest outage.
const MAX_OUTAGE_SECONDS: f64 = 3_600.0;
/// The largest text from a handset: its media as Base64, and 1 MiB for the rest.
const MAX_TEXT: usize = MAX_MEDIA * MAX_MEDIA_BYTES.div_ceil(3) * 4 + 1024 * 1024;
/// The page loads nothing from other origins except the images of messages.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                           connect-src 'self'; img-src 'self' data: http: https:; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// Returns the routes under `/simulator` and the phone page at `/`.
pub(crate) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/", get(page))
        .route("/simulator", get(account).delete(clear))
        .route("/simulator/ledger", get(ledger).delete(clear))
        .route("/simulator/handsets", get(handsets))
        .route("/simulator/handsets/{number}", delete(clear_handset))
        .route(
            "/simulator/handsets/{number}/messages",
            get(conversation).post(send).layer(DefaultBodyLimit::max(MAX_TEXT)),
        )
        .route("/simulator/media/{sid}", get(file))
        .route("/simulator/media-requests", get(media_requests))
        .route("/simulator/faults", get(faults).post(arm).delete(disarm_all))
        .route("/simulator/faults/{id}", delete(disarm))
        .route("/simulator/outage", post(outage))
        .route("/simulator/smart-encoding", put(set_smart_encoding))
        .route("/simulator/credentials", put(set_credentials))
        .route("/simulator/deactivations", post(set_deactivations))
        .route("/simulator/creates", get(creates))
        .route("/simulator/refusals", get(refusals))
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

async fn account(State(engine): Shared) -> Json<Value> {
    let config = &engine.config;
    let numbers = config.numbers.iter().map(|number| {
        json!({ "number": number.number, "webhook_url": number.webhook_url, "fallback_url": number.fallback_url })
    });
    let services = config.messaging_services.iter();
    let services = services.map(|service| json!({ "sid": service.sid, "numbers": config.senders(service) }));
    Json(json!({
        "account_sid": config.account_sid,
        "numbers": numbers.collect::<Vec<_>>(),
        "messaging_services": services.collect::<Vec<_>>(),
        "smart_encoding": engine.smart_encoding(),
    }))
}

async fn clear(State(engine): Shared) -> StatusCode {
    engine.store().record(Change::Cleared);
    engine.faults().disarm(None);
    engine.publish_change();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct LedgerQuery {
    to: Option<String>,
}

/// Restores a `+` that a client did not escape and that arrives as a space.
fn spelled(number: &str) -> String {
    number.replace(' ', "+")
}

async fn ledger(State(engine): Shared, Query(query): Query<LedgerQuery>) -> Json<Vec<Received>> {
    let to = query.to.as_deref().map(spelled);
    Json(engine.store().received(to.as_deref()))
}

async fn handsets(State(engine): Shared) -> Json<Vec<Handset>> {
    Json(engine.store().handsets())
}

async fn clear_handset(State(engine): Shared, Path(number): Path<String>) -> StatusCode {
    engine.store().record(Change::HandsetCleared(spelled(&number)));
    engine.publish_change();
    StatusCode::NO_CONTENT
}

async fn conversation(State(engine): Shared, Path(number): Path<String>) -> Json<Vec<Value>> {
    let messages: Vec<Message> = engine.store().conversation(&spelled(&number));
    Json(messages.iter().map(|message| engine.shown(message)).collect())
}

async fn send(
    State(engine): Shared,
    Path(number): Path<String>,
    text: Result<Json<Text>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(text) = text.map_err(unreadable)?;
    // A separate task: the text is sent even if the client disconnects.
    let sent = tokio::spawn(async move { inbound::send(&engine, &spelled(&number), text).await }).await;
    let sent = sent.map_err(|error| refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let sent = sent.map_err(|error| {
        let status = match error {
            Unsendable::UnknownNumber(_) => StatusCode::NOT_FOUND,
            Unsendable::Media => StatusCode::BAD_REQUEST,
        };
        refusal(status, error.to_string())
    })?;
    Ok(Json(json!(sent)))
}

/// Serves a media file to the page, without a log entry or a fault.
async fn file(State(engine): Shared, Path(sid): Path<String>) -> Response {
    let file = engine.store().file(&sid).cloned();
    let Some(file) = file else { return StatusCode::NOT_FOUND.into_response() };
    let mut response = media::bytes(&file);
    // A handset can send HTML, which must not use the control API.
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    response
}

async fn media_requests(State(engine): Shared) -> Json<Vec<MediaRequest>> {
    Json(engine.media_requests())
}

async fn faults(State(engine): Shared) -> Json<Vec<Armed>> {
    Json(engine.faults().all().to_vec())
}

async fn arm(
    State(engine): Shared,
    request: Result<Json<FaultRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Armed>), Refusal> {
    let Json(request) = request.map_err(unreadable)?;
    Ok((StatusCode::CREATED, Json(engine.faults().arm(request))))
}

async fn disarm_all(State(engine): Shared) -> StatusCode {
    engine.faults().disarm(None);
    StatusCode::NO_CONTENT
}

async fn disarm(State(engine): Shared, Path(id): Path<u64>) -> StatusCode {
    if engine.faults().disarm(Some(id)) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutageRequest {
    seconds: f64,
}

/// Closes the listener shortly after the response.
async fn outage(
    State(engine): Shared,
    request: Result<Json<OutageRequest>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let Json(OutageRequest { seconds }) = request.map_err(unreadable)?;
    if !(0.0..=MAX_OUTAGE_SECONDS).contains(&seconds) {
        let text = format!("seconds: {seconds} is not between 0 and {MAX_OUTAGE_SECONDS}");
        return Err(refusal(StatusCode::BAD_REQUEST, text));
    }
    let later = Arc::clone(&engine);
    engine.spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        later.outage(Duration::from_secs_f64(seconds));
    });
    Ok(StatusCode::ACCEPTED)
}

/// Enables (`true`) or disables (`false`) Smart Encoding.
async fn set_smart_encoding(
    State(engine): Shared,
    is_on: Result<Json<bool>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let Json(is_on) = is_on.map_err(unreadable)?;
    engine.set_smart_encoding(is_on);
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces Auth Tokens and API keys. From now on, only these are accepted, and the first token signs.
async fn set_credentials(
    State(engine): Shared,
    credentials: Result<Json<Credentials>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let Json(credentials) = credentials.map_err(unreadable)?;
    if credentials.auth_tokens.is_empty() || credentials.auth_tokens.iter().any(String::is_empty) {
        return Err(refusal(StatusCode::BAD_REQUEST, "auth_tokens: at least one token, and no empty one"));
    }
    engine.set_credentials(credentials);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeactivationList {
    date: Date,
    numbers: Vec<String>,
}

/// Sets the list of the numbers that were deactivated on a day.
async fn set_deactivations(
    State(engine): Shared,
    list: Result<Json<DeactivationList>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let Json(DeactivationList { date, numbers }) = list.map_err(unreadable)?;
    engine.set_deactivations(date, numbers);
    Ok(StatusCode::NO_CONTENT)
}

async fn refusals(State(engine): Shared) -> Json<Vec<RefusedRequest>> {
    Json(engine.refusals())
}

async fn creates(State(engine): Shared) -> Json<Vec<CreateRecord>> {
    Json(engine.creates())
}

async fn webhooks(State(engine): Shared) -> Json<Vec<CallRecord>> {
    Json(engine.calls())
}

/// Streams message changes. The event `changed` means that several messages have changed.
async fn events(State(engine): Shared) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream = futures::stream::unfold(engine.subscribe(), |mut events| async move {
        let event = match events.recv().await {
            Ok(event) => Event::default().data(&*event),
            Err(RecvError::Lagged(_)) => Event::default().data(json!({ "event": "changed" }).to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), events))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}
