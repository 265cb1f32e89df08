//! Validation of a webhook request.
//!
//! The order of the checks is part of the contract: size (before the signature), signature, path, method, form.
//!
//! Each webhook function has its own path and its own kind of request. A valid request of the other kind means that a
//! URL at Twilio is wrong. It goes to the queue of its kind, because it may be a STOP, and is logged and counted.

use super::config::AUTH_TOKENS;
use super::{Current, MAX_BODY_BYTES, Receiver, Webhook};
use crate::clock;
use crate::config::Secret;
use crate::http::{ApiError, HttpRequestExt, Method, Request, RequestExt, ValidationError};
use crate::queue::{WebhookV1, group_of};
use crate::telemetry::{self, Metric, traces};
use crate::twilio::signature::{SETTINGS_HEADER, SIGNATURE_HEADER};
use crate::twilio::webhook::{MAX_MESSAGE_SID, callback_trace, message_sid};
use crate::twilio::{Form, FormError, Payload, SignedRequest, Verifier, WebhookKind};
use std::sync::{Arc, PoisonError};

/// The header whose value is the same on all attempts of one request.
/// <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>
const IDEMPOTENCY_HEADER: &str = "i-twilio-idempotency-token";

/// Where a request has its parameters. This also decides what is signed besides the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// The query of a GET.
    Query,
    /// A form.
    Form,
    /// A JSON object.
    Json,
    /// A body of another type, which has no parameters.
    Other,
}

impl Carrier {
    fn of(request: &Request) -> Self {
        if request.method() == Method::GET {
            return Self::Query;
        }
        // Twilio sends forms, so a body without a type is read as a form.
        let Some(content_type) = request.header("content-type") else { return Self::Form };
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" | "application/x-www-form-urlencoded" => Self::Form,
            "application/json" => Self::Json,
            _ => Self::Other,
        }
    }
}

/// Why a signed request has no form.
enum NoForm {
    Unreadable(FormError),
    OtherType,
}

impl From<NoForm> for ApiError {
    fn from(reason: NoForm) -> Self {
        let (field, reason) = match reason {
            NoForm::Unreadable(error) => ("body", format!("is not valid: {error}")),
            NoForm::OtherType => {
                ("content-type", "must be application/x-www-form-urlencoded or application/json".to_owned())
            }
        };
        ValidationError::field(field, reason).into()
    }
}

impl Receiver {
    /// Accepts a request that is small enough, signed by Twilio, and has a message SID. If the signature is wrong, the
    /// Auth Tokens may have changed: they are fetched again, at most once per interval.
    ///
    /// # Errors
    ///
    /// The first that applies of [`ApiError::PayloadTooLarge`], [`ApiError::BadSignature`], [`ApiError::NotFound`],
    /// [`ApiError::MethodNotAllowed`] and [`ApiError::Validation`].
    pub async fn admit(&self, request: &Request) -> Result<Webhook, ApiError> {
        let current = self.current();
        let mut admitted = admit(&current.verifier, request);
        if matches!(admitted, Err(ApiError::BadSignature(_)))
            && let Some(renewed) = self.renew(current.version).await
        {
            admitted = admit(&renewed.verifier, request);
        }
        let webhook = admitted.inspect_err(|_| telemetry::count(Metric::WebhooksRefused, 1))?;
        if webhook.kind != self.kind {
            telemetry::count(Metric::WebhooksMisrouted, 1);
            tracing::warn!(kind = ?webhook.kind, "webhook at the wrong URL");
        }
        Ok(webhook)
    }

    fn current(&self) -> Current {
        self.verifier.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a verifier with the Auth Tokens of the secret if they are newer than version `seen`.
    async fn renew(&self, seen: u64) -> Option<Current> {
        let version = self.config.secrets.renew(AUTH_TOKENS, seen).await?;
        let tokens = self.config.secrets.get(AUTH_TOKENS)?;
        let tokens =
            tokens.split(',').map(str::trim).filter(|token| !token.is_empty()).map(Secret::new).collect();
        let verifier = Arc::new(Verifier::new(tokens, &self.config.public_base_urls));
        let renewed = Current { verifier, version };
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = renewed.clone();
        Some(renewed)
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
    verify_signature(verifier, request, carrier, form.as_ref().ok())?;
    let at = WebhookKind::at(request.raw_http_path()).ok_or(ApiError::NotFound("a webhook at this path"))?;
    if ![Method::POST, Method::GET].contains(request.method()) {
        // As in the document: GET is accepted, but not offered.
        return Err(ApiError::MethodNotAllowed { allowed: "POST" });
    }
    let form = form?;
    match message_sid(&form) {
        None => return Err(ValidationError::field("MessageSid", "is missing").into()),
        // It could not be stored. Twilio's log is a better place to find it than a dead-letter queue.
        Some(sid) if sid.len() > MAX_MESSAGE_SID => {
            let reason = format!("is longer than {MAX_MESSAGE_SID} bytes");
            return Err(ValidationError::field("MessageSid", reason).into());
        }
        Some(_) => {}
    }
    // The query of a GET is the form. Otherwise it holds the parameters of our own callback URL, rewritten in ASCII.
    let query = if carrier == Carrier::Query {
        String::new()
    } else {
        Form::from_urlencoded_lossy(request.raw_query().as_bytes()).to_urlencoded()
    };
    let kind = WebhookKind::of(&form).unwrap_or(at);
    let trace = request.trace();
    if traces::is_on() {
        // Twilio has signed the URL, so the context in it is ours.
        trace.set_route(at.path());
        trace.start(callback_trace(&Form::from_urlencoded_lossy(request.raw_query().as_bytes())).as_ref());
    }
    let message = WebhookV1 {
        received_at: clock::now(),
        form: form.to_urlencoded(),
        query,
        idempotency_token: idempotency_token(request),
        group: kind.handset(&form).map(group_of),
    };
    Ok(Webhook { kind, message, request_id: request.request_id().to_owned(), trace })
}

/// Refuses a request that Twilio did not sign.
///
/// An invalid form is refused in any case: with 403 if it is not signed, with 400 if it is. So a signature over any
/// possible reading of the form is accepted here.
fn verify_signature(
    verifier: &Verifier,
    request: &Request,
    carrier: Carrier,
    form: Option<&Form>,
) -> Result<(), ApiError> {
    let lenient = Form::from_urlencoded_lossy;
    let verify = |payload: Payload<'_>| {
        verifier.verify(&SignedRequest {
            domain_name: request.domain_name(),
            raw_path: request.raw_http_path(),
            raw_query: request.raw_query(),
            payload,
            signature: request.header(SIGNATURE_HEADER),
            settings: request.header(SETTINGS_HEADER),
        })
    };
    let empty = Form::default();
    let outcome = match (carrier, form) {
        (Carrier::Query, _) => verify(Payload::Form(&empty)),
        (Carrier::Json, _) => verify(Payload::Body(request.body())),
        (Carrier::Form, Some(form)) => verify(Payload::Form(form)),
        (Carrier::Form | Carrier::Other, _) => verify(Payload::Form(&empty))
            .or_else(|_| verify(Payload::Form(&lenient(request.body()))))
            .or_else(|_| verify(Payload::Body(request.body()))),
    };
    outcome.map_err(|reason| ApiError::BadSignature(reason.into()))
}

/// Returns Twilio's token if SQS accepts it as an attribute. It is stored for debugging only.
fn idempotency_token(request: &Request) -> Option<String> {
    let token = request.header(IDEMPOTENCY_HEADER)?;
    let is_plain = (1..=255).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain.then(|| token.to_owned())
}
