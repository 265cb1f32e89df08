//! Media of messages, and the media host to which the REST API redirects a request for a file.
//!
//! <https://www.twilio.com/docs/messaging/api/media-resource>

use std::sync::Arc;

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::auth::caller;
use crate::api::error::ApiError;
use crate::api::faulty::with_fault;
use crate::api::server::Connection;
use crate::clock::{now, rfc2822};
use crate::delivery::engine::{Engine, MediaRequest};
use crate::faults::armed::{Facts, Operation};
use crate::faults::fault::Fault;
use crate::state::change::Change;
use crate::state::file::File;
use crate::state::message::{API_VERSION, Media, Message};

type Shared = State<Arc<Engine>>;

/// The query of a file's URL, which stands for the signature of a content delivery network.
const SIGNATURE: &str = "Signature=simulated";

/// Returns the routes of the REST API.
pub(crate) fn routes() -> Router<Arc<Engine>> {
    let messages = format!("/{API_VERSION}/Accounts/{{account}}/Messages");
    Router::new()
        .route(&format!("{messages}/{{message}}/Media.json"), get(list))
        .route(&format!("{messages}/{{message}}/Media/{{file}}"), get(fetch).delete(remove))
}

/// Returns the routes of the media host.
pub(crate) fn host_routes() -> Router<Arc<Engine>> {
    Router::new().route("/{account}/{media}", get(download)).fallback(|| async { StatusCode::NOT_FOUND })
}

/// Returns the response with the bytes of a file.
pub(crate) fn bytes(file: &File) -> Response {
    let headers =
        [(header::CONTENT_TYPE, file.content_type.as_str()), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, file.bytes.0.to_vec()).into_response()
}

/// A media file in the path of a request to the REST API.
#[derive(Deserialize)]
struct Place {
    account: String,
    message: String,
    /// The SID of the file, with `.json` for its resource.
    file: String,
}

impl Place {
    fn sid(&self) -> &str {
        self.file.strip_suffix(".json").unwrap_or(&self.file)
    }
}

/// Logs and authenticates a request for a file and finds the file.
fn find(engine: &Engine, place: &Place, request: &Request) -> Result<(Message, Media), ApiError> {
    log(engine, "api", place.sid(), request);
    caller(engine, request.headers(), &place.account)?;
    let message = engine.store().get(&place.message).cloned();
    let found = message.and_then(|message| {
        let media = message.media.iter().find(|media| media.sid == place.sid()).cloned();
        media.map(|media| (message, media))
    });
    found.ok_or_else(|| ApiError::not_found(request.uri().path()))
}

fn log(engine: &Engine, host: &'static str, media_sid: &str, request: &Request) {
    engine.log_media_request(MediaRequest {
        at: now(),
        host,
        method: request.method().to_string(),
        media_sid: media_sid.to_owned(),
        authorization: request.headers().contains_key(header::AUTHORIZATION),
    });
}

/// Applies the fault of a request for `url`, a file of this message.
async fn respond(
    engine: &Engine,
    connection: &Connection,
    (operation, message, url): (Operation, &Message, String),
    run: impl AsyncFnOnce() -> Response,
) -> Response {
    let from = message.from.as_deref().unwrap_or_default();
    let mut met = engine.faults().meet(operation, &Facts { to: &message.to, from, body: &message.body });
    if let Some(Fault::Redirect { location }) = met.as_mut().map(|met| &mut met.fault) {
        location.get_or_insert(url);
    }
    with_fault(met, connection, run).await
}

/// Redirects to the media host. A file that is elsewhere, as those of outbound messages are, has its own URL.
async fn fetch(
    State(engine): Shared,
    Extension(connection): Extension<Connection>,
    Path(place): Path<Place>,
    request: Request,
) -> Result<Response, ApiError> {
    let (message, media) = find(&engine, &place, &request)?;
    let url = format!("{}{}", engine.origins.api, request.uri());
    if place.file.ends_with(".json") {
        let resource = resource(&place.account, &message, &media);
        let run = async || Json(resource).into_response();
        return Ok(respond(&engine, &connection, (Operation::Fetch, &message, url), run).await);
    }
    let location = if media.is_stored {
        format!("{}/{}/{}?{SIGNATURE}", engine.origins.media, place.account, media.sid)
    } else {
        media.url
    };
    let run = async || Redirect::temporary(&location).into_response();
    Ok(respond(&engine, &connection, (Operation::Media, &message, url), run).await)
}

async fn remove(
    State(engine): Shared,
    Extension(connection): Extension<Connection>,
    Path(place): Path<Place>,
    request: Request,
) -> Result<Response, ApiError> {
    let (message, media) = find(&engine, &place, &request)?;
    let url = format!("{}{}", engine.origins.api, request.uri());
    let run = async || {
        engine.store().record(Change::MediaDeleted { message: message.sid.clone(), media: media.sid });
        let changed = engine.store().get(&message.sid).cloned();
        changed.iter().for_each(|message| engine.publish_message(message));
        StatusCode::NO_CONTENT.into_response()
    };
    Ok(respond(&engine, &connection, (Operation::Delete, &message, url), run).await)
}

async fn list(
    State(engine): Shared,
    Path((account, sid)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    caller(&engine, request.headers(), &account)?;
    let message = engine.store().get(&sid).cloned();
    let message = message.ok_or_else(|| ApiError::not_found(request.uri().path()))?;
    let list: Vec<Value> = message.media.iter().map(|media| resource(&account, &message, media)).collect();
    let end = list.len().saturating_sub(1);
    let page = format!("/{API_VERSION}/Accounts/{account}/Messages/{sid}/Media.json?PageSize=50&Page=0");
    let page = json!({
        "media_list": list, "page": 0, "page_size": 50, "start": 0, "end": end, "uri": page,
        "first_page_uri": page, "next_page_uri": null, "previous_page_uri": null,
    });
    Ok(Json(page).into_response())
}

/// Returns the Media resource.
fn resource(account: &str, message: &Message, media: &Media) -> Value {
    json!({
        "sid": media.sid, "account_sid": account, "parent_sid": message.sid, "content_type": media.content_type,
        "date_created": rfc2822(message.created), "date_updated": rfc2822(message.updated),
        "uri": format!("{}.json", message.media_uri(account, &media.sid)),
    })
}

/// Serves the bytes of a file at the media host, which needs no other credentials than its URL.
async fn download(
    State(engine): Shared,
    Extension(connection): Extension<Connection>,
    Path((_, sid)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    log(&engine, "media", &sid, &request);
    if query.as_deref() != Some(SIGNATURE) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let file = engine.store().file(&sid).cloned();
    let message = file.as_ref().and_then(|file| engine.store().get(&file.message_sid).cloned());
    let (Some(file), Some(message)) = (file, message) else { return StatusCode::NOT_FOUND.into_response() };
    let url = format!("{}{}", engine.origins.media, request.uri());
    respond(&engine, &connection, (Operation::MediaFile, &message, url), async || bytes(&file)).await
}
