//! The OpenAPI 3.1 document.

use common::http::{ErrorEnvelope, Scope};
use serde::Serialize;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OneOfBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi, ToSchema};

/// Returns the document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SMS Foundation",
        description = "The SMS backbone of a property-management company: every message that comes in is kept, every \
            message that goes out is followed to the handset.\n\nCall it with `Authorization: Bearer <key>`. Whatever \
            fails is answered with one shape, `ErrorEnvelope`, whose `code` callers can rely on; what the gateway \
            answers by itself has its own, `GatewayMessage`. Every answer carries `x-request-id`.",
    ),
    paths(
        send_sms::handle,
        get_message::handle,
        cancel_message::handle,
        get_conversation::handle,
        update_conversation::handle,
        health::handle,
        openapi_json,
        docs,
        inbound_sms,
        delivery_status,
    ),
    components(schemas(ErrorEnvelope, GatewayMessage)),
    tags(
        (name = "messages", description = "Sending, and following what was sent."),
        (name = "conversations", description = "What was said with a number."),
        (name = "service", description = "The service itself; open to everybody."),
        (name = "webhooks", description = "Called by Twilio, at function URLs of their own, signed by Twilio."),
    ),
    modifiers(&Everywhere),
)]
struct Document;

/// What the gateway answers by itself.
#[derive(Debug, Serialize, ToSchema)]
struct GatewayMessage {
    /// A sentence of the gateway's.
    message: String,
}

/// A webhook's form: Twilio's parameters, all of them kept, the unknown ones too.
#[derive(Debug, ToSchema)]
#[expect(dead_code, non_snake_case, reason = "it is only described here, in Twilio's own spelling")]
struct TwilioForm {
    /// Twilio's id of the message, without which the form is refused.
    MessageSid: String,
    /// Who wrote.
    From: Option<String>,
    /// To which of our numbers.
    To: Option<String>,
    /// The text of an inbound message.
    Body: Option<String>,
    /// The status of an outbound message.
    MessageStatus: Option<String>,
    /// Why it failed.
    ErrorCode: Option<String>,
}

#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "get_openapi",
    summary = "Read this document",
    responses((status = 200, description = "This document.", body = Object)),
    security(()),
)]
#[expect(dead_code, reason = "the path macro describes a function")]
fn openapi_json() {}

#[utoipa::path(
    get, path = "/docs", tag = "service", operation_id = "get_docs",
    summary = "Read and try the API",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")),
    security(()),
)]
#[expect(dead_code, reason = "the path macro describes a function")]
fn docs() {}

#[utoipa::path(
    post, path = "/webhook/twilio/sms", tag = "webhooks", operation_id = "receive_inbound_sms",
    summary = "Receive an inbound message",
    description = "Twilio's, not yours. A signed GET, and a signed JSON body that holds MessageSid, are taken too.",
    request_body(content = TwilioForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Durable. An empty TwiML document.", body = String, content_type = "text/xml"),
        (status = 400, description = "Not a form, or without MessageSid.", body = ErrorEnvelope),
        (status = 403, description = "Not signed by Twilio.", body = ErrorEnvelope),
        (status = 413, description = "More than 64 KiB.", body = ErrorEnvelope),
        (status = 503, description = "Nothing durable took it: Twilio tries again.", body = ErrorEnvelope),
    ),
    security(("twilio_signature" = [])),
)]
#[expect(dead_code, reason = "the path macro describes a function")]
fn inbound_sms() {}

#[utoipa::path(
    post, path = "/webhook/twilio/status", tag = "webhooks", operation_id = "receive_delivery_status",
    summary = "Receive what became of a message",
    description = "Twilio's, not yours. A signed GET, and a signed JSON body that holds MessageSid, are taken too.",
    params(("message_id" = Option<uuid::Uuid>, Query, description = "Our id of the message, which our own callback \
        address carries.")),
    request_body(content = TwilioForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Durable."),
        (status = 400, description = "Not a form, or without MessageSid.", body = ErrorEnvelope),
        (status = 403, description = "Not signed by Twilio.", body = ErrorEnvelope),
        (status = 413, description = "More than 64 KiB.", body = ErrorEnvelope),
        (status = 503, description = "Nothing durable took it: Twilio tries again.", body = ErrorEnvelope),
    ),
    security(("twilio_signature" = [])),
)]
#[expect(dead_code, reason = "the path macro describes a function")]
fn delivery_status() {}

/// What holds for every operation.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scopes = Scope::ALL.map(|scope| format!("`{scope}`")).join(", ");
        let key = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("smsk_…")
            .description(Some(format!("A key of this API. It carries some of the scopes {scopes}.")))
            .build();
        let signature = ApiKey::Header(ApiKeyValue::with_description(
            "X-Twilio-Signature",
            "What Twilio signs its requests with.",
        ));
        if let Some(components) = &mut document.components {
            components.add_security_scheme("api_key", SecurityScheme::Http(key));
            components.add_security_scheme("twilio_signature", SecurityScheme::ApiKey(signature));
        }
        for item in document.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post, &mut item.patch].into_iter().flatten() {
                complete(operation);
            }
        }
    }
}

/// Adds what the gateway may answer to an operation that needs a key, and the request's id to every answer.
fn complete(operation: &mut Operation) {
    let needs_key = operation
        .security
        .iter()
        .flatten()
        .any(|requirement| serde_json::to_string(requirement).is_ok_and(|text| text.contains("api_key")));
    let responses = &mut operation.responses.responses;
    if needs_key {
        let gateway = || Ref::from_schema_name("GatewayMessage");
        let either =
            || Schema::from(OneOfBuilder::new().item(Ref::from_schema_name("ErrorEnvelope")).item(gateway()));
        let refused = json_response("No key came with the request.", gateway());
        responses.insert("401".to_owned(), RefOr::T(refused));
        if let Some(RefOr::T(forbidden)) = responses.get_mut("403") {
            forbidden.description.push_str(" Or the gateway does not know the key.");
            let content = ContentBuilder::new().schema(Some(either())).build();
            forbidden.content.insert("application/json".to_owned(), RefOr::T(content));
        }
        let other = json_response("Any other failure, such as too many requests.", either());
        responses.insert("default".to_owned(), RefOr::T(other));
    }
    for response in responses.values_mut() {
        if let RefOr::T(response) = response {
            let id = ObjectBuilder::new().schema_type(Type::String).build();
            let header = HeaderBuilder::new()
                .schema(Some(id))
                .description(Some("The id that this request has in our logs: yours, if it was well-formed."))
                .build();
            response.headers.insert("x-request-id".to_owned(), RefOr::T(header));
        }
    }
}

fn json_response(description: &str, schema: impl Into<RefOr<Schema>>) -> Response {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}
