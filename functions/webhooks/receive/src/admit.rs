//! Whether a request is Twilio's, and what it says.
//!
//! The order of the checks is part of the contract: size (no signature needed), signature, path, method, form.
//!
//! Each webhook function has its own path and its own kind of request. A genuine request of the other kind, as from a number
//! whose URL at Twilio is the wrong one, goes to its own queue all the same: it may be a STOP. It is logged and counted, so
//! that somebody fixes the URL.

use super::{MAX_BODY_BYTES, Receiver, Webhook};
use common::clock;
use common::http::{ApiError, Request, ValidationError};
use common::queue::WebhookV1;
use common::telemetry::{self, Metric};
use common::twilio::signature::{SETTINGS_HEADER, SIGNATURE_HEADER};
use common::twilio::webhook::{MAX_MESSAGE_SID, message_sid};
use common::twilio::{Form, FormError, Payload, SignedRequest, Verifier, WebhookKind};

/// The header that is the same on all tries of one request.
/// <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>
const IDEMPOTENCY_HEADER: &str = "i-twilio-idempotency-token";

/// Where a request carries its parameters, which also decides what of it is signed besides the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// The query of a GET.
    Query,
    /// A form.
    Form,
    /// A JSON object.
    Json,
    /// A body of some other type, in which no parameters are looked for.
    Other,
}

impl Carrier {
    fn of(request: &Request) -> Self {
        if request.method() == "GET" {
            return Self::Query;
        }
        // A body without a type is taken for what Twilio sends.
        let Some(content_type) = request.header("content-type") else { return Self::Form };
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" | "application/x-www-form-urlencoded" => Self::Form,
            "application/json" => Self::Json,
            _ => Self::Other,
        }
    }
}

/// Why a genuine request holds no form.
enum NoForm {
    Unreadable(FormError),
    OtherType,
}

impl From<NoForm> for ApiError {
    fn from(reason: NoForm) -> Self {
        let (field, reason) = match reason {
            NoForm::Unreadable(error) => ("body", format!("cannot be read: {error}")),
            NoForm::OtherType => ("content-type", "is neither a form nor JSON".to_owned()),
        };
        ValidationError::field(field, reason).into()
    }
}

impl Receiver {
    /// Admits a request that is small enough, signed by Twilio, and names a message.
    ///
    /// # Errors
    ///
    /// [`ApiError::PayloadTooLarge`], then [`ApiError::BadSignature`], then [`ApiError::NotFound`], then
    /// [`ApiError::MethodNotAllowed`] or [`ApiError::Validation`]: what comes first is answered.
    pub fn admit(&self, request: &Request) -> Result<Webhook, ApiError> {
        let webhook =
            admit(&self.verifier, request).inspect_err(|_| telemetry::count(Metric::WebhooksRefused, 1))?;
        if webhook.kind != self.kind {
            telemetry::count(Metric::WebhooksMisrouted, 1);
            tracing::warn!(kind = ?webhook.kind, "wrong URL at Twilio: the webhook goes to the queue of its kind");
        }
        Ok(webhook)
    }
}

fn admit(verifier: &Verifier, request: &Request) -> Result<Webhook, ApiError> {
    if request.body().len() > MAX_BODY_BYTES || request.raw_query().len() > MAX_BODY_BYTES {
        return Err(ApiError::PayloadTooLarge { limit: MAX_BODY_BYTES });
    }
    let carrier = Carrier::of(request);
    let form = match carrier {
        Carrier::Query => Form::from_urlencoded(request.raw_query().as_bytes()).map_err(NoForm::Unreadable),
        Carrier::Form => Form::from_urlencoded(request.body()).map_err(NoForm::Unreadable),
        Carrier::Json => Form::from_json(request.body()).map_err(NoForm::Unreadable),
        Carrier::Other => Err(NoForm::OtherType),
    };
    authorise(verifier, request, carrier, form.as_ref().ok())?;
    let at = WebhookKind::at(request.raw_path()).ok_or(ApiError::NotFound("a webhook at this path"))?;
    if !matches!(request.method(), "POST" | "GET") {
        return Err(ApiError::MethodNotAllowed);
    }
    let form = form?;
    match message_sid(&form) {
        None => return Err(ValidationError::field("MessageSid", "is missing").into()),
        // It names no message, and could not be stored: better told to Twilio than found in a dead-letter queue.
        Some(sid) if sid.len() > MAX_MESSAGE_SID => {
            let reason = format!("is longer than {MAX_MESSAGE_SID} bytes");
            return Err(ValidationError::field("MessageSid", reason).into());
        }
        Some(_) => {}
    }
    // On a GET the query is the form. Elsewhere it carries what our own callback URL did, rewritten in ASCII.
    let query = if carrier == Carrier::Query {
        String::new()
    } else {
        Form::from_urlencoded_lossy(request.raw_query().as_bytes()).to_urlencoded()
    };
    let kind = WebhookKind::of(&form).unwrap_or(at);
    let message = WebhookV1 {
        received_at: clock::now(),
        form: form.to_urlencoded(),
        query,
        idempotency_token: idempotency_token(request),
    };
    Ok(Webhook { kind, message, request_id: request.request_id().to_owned() })
}

/// Refuses a request that Twilio did not sign.
///
/// A form that can't be read is refused in any case; here it only decides between 403, for a stranger, and 400, for
/// Twilio. So any of the readings that a signer may have had will do.
fn authorise(
    verifier: &Verifier,
    request: &Request,
    carrier: Carrier,
    form: Option<&Form>,
) -> Result<(), ApiError> {
    let lenient = Form::from_urlencoded_lossy;
    let verify = |payload: Payload<'_>| {
        verifier.verify(&SignedRequest {
            raw_path: request.raw_path(),
            raw_query: request.raw_query(),
            payload,
            signature: request.header(SIGNATURE_HEADER),
            settings: request.header(SETTINGS_HEADER),
        })
    };
    let only_the_url = Form::default();
    let outcome = match (carrier, form) {
        (Carrier::Query, _) => verify(Payload::Form(&only_the_url)),
        (Carrier::Json, _) => verify(Payload::Body(request.body())),
        (Carrier::Form, Some(form)) => verify(Payload::Form(form)),
        (Carrier::Form | Carrier::Other, _) => verify(Payload::Form(&only_the_url))
            .or_else(|_| verify(Payload::Form(&lenient(request.body()))))
            .or_else(|_| verify(Payload::Body(request.body()))),
    };
    outcome.map_err(|reason| ApiError::BadSignature(reason.into()))
}

/// Returns Twilio's token if it is of a kind that SQS takes; it is kept for people to read, no promise rests on it.
fn idempotency_token(request: &Request) -> Option<String> {
    let token = request.header(IDEMPOTENCY_HEADER)?;
    let is_plain = (1..=255).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain.then(|| token.to_owned())
}
