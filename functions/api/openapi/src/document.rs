//! The OpenAPI 3.1 document.

use crate::{examples, links};
use common::domain::event::{self, EventType};
use common::http::{ErrorEnvelope, Scope, responses};
use serde::Serialize;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterIn, PathItem, Paths, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, OneOfBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Schema,
};
use utoipa::{OpenApi, ToSchema};

/// Returns the document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(Endpoints::openapi());
    document.merge(Others::openapi());
    complete(&mut document);
    document.webhooks = Some(webhooks());
    document
}

include!(concat!(env!("OUT_DIR"), "/endpoints.rs"));

/// The operations of other folders, and of this function.
#[derive(OpenApi)]
#[openapi(paths(openapi_json, docs, docs_script, inbound_sms, delivery_status))]
struct Others;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SMS Foundation",
        description = "SMS service of a property-management company. It stores every inbound message, and sends \
            messages through Twilio and tracks their delivery.\n\nAuthenticate with `Authorization: Bearer <key>`. \
            Every error has the body `ErrorEnvelope` with a stable `code`; errors of the gateway have the body \
            `GatewayMessage`. Every response of the service has the header `x-request-id`. A path without the \
            method is 405 with the header `Allow`; an unknown path is 404.",
    ),
    components(schemas(ErrorEnvelope, FunctionUrlMessage, GatewayMessage)),
    tags(
        (name = "messages", description = "Send messages and track their delivery."),
        (name = "bulk", description = "Send many messages, and pause, resume or cancel them."),
        (name = "templates", description = "Texts with variables, per language, for bulk requests."),
        (name = "conversations", description = "Messages and settings per phone number."),
        (name = "consent", description = "Opt-outs and opt-ins of a number, with their evidence."),
        (name = "events", description = "The event log."),
        (name = "subscriptions", description = "Deliveries of events to a URL or an SQS queue."),
        (name = "service", description = "Health and documentation; public."),
        (name = "webhooks", description = "Called by Twilio only, at their own function URLs."),
    ),
)]
struct Document;

/// An error response of the gateway.
#[derive(Debug, Serialize, ToSchema)]
struct GatewayMessage {
    /// Description of the error.
    message: String,
}

/// An error response of a function URL.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct FunctionUrlMessage {
    /// Description of the error.
    message: String,
}

/// The form of a webhook. All parameters are stored, including unknown ones.
#[derive(Debug, ToSchema)]
#[expect(dead_code, non_snake_case, reason = "it only documents Twilio's parameters")]
struct TwilioForm {
    /// Twilio's SID of the message; required.
    #[schema(min_length = 1, max_length = 255)]
    MessageSid: String,
    /// Sender.
    From: Option<String>,
    /// Recipient.
    To: Option<String>,
    /// Text of an inbound message.
    Body: Option<String>,
    /// Status of an outbound message.
    MessageStatus: Option<String>,
    /// Error code of a failed message.
    ErrorCode: Option<String>,
}

#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "get_openapi",
    summary = "Get this document",
    responses((status = 200, description = "This document.", body = Object,
        example = json!({"openapi": "3.1.0", "info": {"title": "SMS Foundation"}}))),
    security(()),
)]
#[expect(dead_code, reason = "the path macro describes a function")]
fn openapi_json() {}

#[utoipa::path(
    get, path = "/docs", tag = "service", operation_id = "get_docs",
    summary = "Documentation page",
    responses((status = 200, description = "HTML page.", body = String, content_type = "text/html")),
    security(()),
)]
#[expect(dead_code, reason = "the path macro describes a function")]
fn docs() {}

#[utoipa::path(
    get, path = "/docs/scalar.js", tag = "service", operation_id = "get_docs_script",
    summary = "Load the script of the page",
    description = "The renderer that `/docs` loads, always compressed with gzip.",
    responses((status = 200, description = "The script.", body = String, content_type = "text/javascript")),
    security(()),
)]
#[expect(dead_code, reason = "the path macro describes a function")]
fn docs_script() {}

#[utoipa::path(
    post, path = "/webhook/twilio/sms", tag = "webhooks", operation_id = "receive_inbound_sms",
    summary = "Receive an inbound message",
    description = "Called by Twilio only. A signed GET and a signed JSON body with `MessageSid` are also accepted.",
    request_body(content = TwilioForm, content_type = "application/x-www-form-urlencoded", example = json!({
        "MessageSid": "SM0123456789abcdef0123456789abcdef", "From": "+12025550123", "To": "+12025550100",
        "Body": "No hay calefacción"
    })),
    responses(
        (status = 200, description = "Stored. The body is an empty TwiML document.", body = String,
        content_type = "text/xml", example = json!("<Response/>")),
        responses::InvalidRequest,
        responses::InvalidSignature,
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("twilio_signature" = [])),
)]
#[expect(dead_code, reason = "the path macro describes a function")]
fn inbound_sms() {}

#[utoipa::path(
    post, path = "/webhook/twilio/status", tag = "webhooks", operation_id = "receive_delivery_status",
    summary = "Receive a status callback",
    description = "Called by Twilio only. A signed GET and a signed JSON body with `MessageSid` are also accepted.",
    params(("message_id" = Option<String>, Query, description = "Message id of this service, from the callback URL. \
        Ignored unless it is a UUID.")),
    request_body(content = TwilioForm, content_type = "application/x-www-form-urlencoded", example = json!({
        "MessageSid": "SM0123456789abcdef0123456789abcdef", "MessageStatus": "delivered"
    })),
    responses(
        (status = 200, description = "Stored."),
        responses::InvalidRequest,
        responses::InvalidSignature,
        responses::PayloadTooLarge,
        responses::Unavailable,
    ),
    security(("twilio_signature" = [])),
)]
#[expect(dead_code, reason = "the path macro describes a function")]
fn delivery_status() {}

/// Adds security schemes and common responses to all operations.
fn complete(document: &mut utoipa::openapi::OpenApi) {
    let scopes = Scope::ALL.map(|scope| format!("`{scope}`")).join(", ");
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("smsk_…")
        .description(Some(format!("API key. A key has some of the scopes {scopes}.")))
        .build();
    let signature = ApiKey::Header(ApiKeyValue::with_description(
        "X-Twilio-Signature",
        "Twilio's signature of the request.",
    ));
    let token = ApiKey::Query(ApiKeyValue::with_description(
        "token",
        "Token of `POST /events/stream-token`, for browsers; it expires after a minute.",
    ));
    if let Some(components) = &mut document.components {
        components.add_security_scheme("api_key", SecurityScheme::Http(key));
        components.add_security_scheme("twilio_signature", SecurityScheme::ApiKey(signature));
        components.add_security_scheme("stream_token", SecurityScheme::ApiKey(token));
    }
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            complete_operation(operation);
        }
    }
}

/// Adds the gateway's errors to an operation that needs a key, and the request id to every response.
fn complete_operation(operation: &mut Operation) {
    let needs_key = needs(operation, "api_key");
    links::add(operation);
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        match &mut parameter.schema {
            Some(schema) if parameter.name == "types" => *schema = list_of_event_types(),
            // A header can be absent, but not null.
            Some(RefOr::T(Schema::Object(schema))) if parameter.parameter_in == ParameterIn::Header => {
                schema.schema_type = Type::String.into();
            }
            _ => {}
        }
    }
    let responses = &mut operation.responses.responses;
    if needs_key {
        // An operation with its own 401 verifies the key itself, at a function URL.
        let is_own = responses.contains_key("401");
        let message = || Ref::from_schema_name(if is_own { "FunctionUrlMessage" } else { "GatewayMessage" });
        let either =
            || Schema::from(OneOfBuilder::new().item(Ref::from_schema_name("ErrorEnvelope")).item(message()));
        if !is_own {
            let refused = json_response("The request has no key.", message());
            responses.insert("401".to_owned(), RefOr::T(refused));
        }
        for (status, reason) in [
            ("403", " Or the key is not valid."),
            ("429", " Or the gateway gets too many requests."),
            ("503", " Or the gateway's time limit is exceeded."),
        ] {
            if let Some(RefOr::T(refused)) = responses.get_mut(status).filter(|_| !is_own) {
                refused.description.push_str(reason);
                let content = ContentBuilder::new().schema(Some(either())).build();
                refused.content.insert("application/json".to_owned(), RefOr::T(content));
            }
        }
        let throttled = || RefOr::T(json_response("Too many requests.", message()));
        responses.entry("429".to_owned()).or_insert_with(throttled);
        // No `default`: a client or a test could not tell a wrong status.
        let failed = json_response("Any other failure.", either());
        responses.insert("5XX".to_owned(), RefOr::T(failed));
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response {
            examples::add(status, response);
            let id = ObjectBuilder::new().schema_type(Type::String).build();
            let header = HeaderBuilder::new()
                .schema(Some(id))
                .description(Some("Id of the request in the service's logs: yours, if it was well-formed."))
                .build();
            response.headers.insert("x-request-id".to_owned(), RefOr::T(header));
        }
    }
}

/// Returns whether an operation accepts a security scheme.
pub(crate) fn needs(operation: &Operation, scheme: &str) -> bool {
    let mut requirements = operation.security.iter().flatten();
    requirements
        .any(|one| serde_json::to_string(one).is_ok_and(|text| text.contains(&format!("\"{scheme}\""))))
}

/// Returns the schema of a parameter with event types, separated by commas.
fn list_of_event_types() -> RefOr<Schema> {
    let one = EventType::ALL.map(|of| of.as_str().replace('.', r"\.")).join("|");
    let pattern = format!("^({one})(,({one}))*$");
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build().into()
}

/// Returns the events, one webhook per type. `GET /events` returns the same bodies.
fn webhooks() -> Paths {
    EventType::ALL
        .into_iter()
        .fold(PathsBuilder::new(), |paths, of| paths.path(of.as_str(), webhook(of)))
        .build()
}

fn webhook(of: EventType) -> PathItem {
    let content = ContentBuilder::new().schema(Some(event::schema(of))).build();
    let body =
        RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True)).build();
    let received = ResponseBuilder::new().description("Received.").build();
    let operation = OperationBuilder::new()
        .operation_id(Some(format!("event_{}", of.as_str().replace('.', "_"))))
        .summary(Some(of.as_str()))
        .description(Some(of.description()))
        .tag("events")
        .request_body(Some(body))
        .response("2XX", received)
        .build();
    PathItem::new(HttpMethod::Post, operation)
}

fn json_response(description: &str, schema: impl Into<RefOr<Schema>>) -> Response {
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}
