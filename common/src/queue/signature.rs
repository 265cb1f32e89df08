//! AWS's Signature Version 4, of the one kind of request that SQS is sent.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. AWS's own implementation
//! judges it in the tests.

use crate::config::Secret;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

const SERVICE: &str = "sqs";

/// Whose requests they are.
#[derive(Debug)]
pub struct Credentials {
    /// The access key's id.
    pub key_id: String,
    /// The access key.
    pub secret: Secret,
    /// Lambda's credentials are of a session.
    pub session_token: Option<String>,
    /// Where the queues are.
    pub region: String,
}

/// The headers that are signed, besides those that signing adds.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    /// `Content-Type`.
    pub content_type: &'a str,
    /// `Host`.
    pub host: &'a str,
    /// `X-Amz-Target`.
    pub target: &'a str,
}

/// What signing adds to a request, besides the session's token.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    /// `X-Amz-Date`.
    pub date: String,
    /// `Authorization`.
    pub authorization: String,
}

/// Signs requests.
pub struct Signer {
    credentials: Credentials,
    /// The last day that was signed for, and its key: that takes four hashes, and is the same all day.
    key: Mutex<Option<(String, Hmac<Sha256>)>>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs for the holder of `credentials`.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, key: Mutex::default() }
    }

    /// Returns `X-Amz-Security-Token`, which a signed request carries too.
    pub fn session_token(&self) -> Option<&str> {
        self.credentials.session_token.as_deref()
    }

    /// Signs a POST to `/`, without a query.
    pub fn sign(&self, now: Timestamp, headers: &Headers<'_>, body: &[u8]) -> Signature {
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = date.split('T').next().unwrap_or_default();
        let Headers { content_type, host, target } = headers;
        let mut request = String::with_capacity(1024);
        let _ = write!(request, "POST\n/\n\ncontent-type:{content_type}\nhost:{host}\nx-amz-date:{date}\n");
        let signed = match self.session_token() {
            Some(token) => {
                let _ = writeln!(request, "x-amz-security-token:{token}");
                "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
            }
            None => "content-type;host;x-amz-date;x-amz-target",
        };
        let _ = write!(request, "x-amz-target:{target}\n\n{signed}\n{}", hex::encode(Sha256::digest(body)));
        let scope = [day, &self.credentials.region, SERVICE, "aws4_request"].join("/");
        let request = hex::encode(Sha256::digest(request));
        let text = ["AWS4-HMAC-SHA256", &date, &scope, &request].join("\n");
        let signature = hex::encode(mac(self.key(day), text.as_bytes()));
        let key_id = &self.credentials.key_id;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={signed}, Signature={signature}"
        );
        Signature { date, authorization }
    }

    fn key(&self, day: &str) -> Hmac<Sha256> {
        let mut held = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref() {
            Some((of, key)) if of == day => key.clone(),
            _ => {
                let secret = ["AWS4", self.credentials.secret.expose()].concat();
                let parts = [day, &self.credentials.region, SERVICE, "aws4_request"];
                let key = parts
                    .iter()
                    .fold(keyed(secret.as_bytes()), |key, part| keyed(&mac(key, part.as_bytes())));
                *held = Some((day.to_owned(), key.clone()));
                key
            }
        }
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn mac(mut key: Hmac<Sha256>, text: &[u8]) -> [u8; 32] {
    key.update(text);
    key.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::Credentials as Theirs;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;

    /// What AWS's own implementation puts into `Authorization`.
    fn reference(credentials: &Credentials, now: Timestamp, headers: &Headers<'_>, body: &[u8]) -> String {
        let identity = Theirs::new(
            &credentials.key_id,
            credentials.secret.expose(),
            credentials.session_token.clone(),
            None,
            "test",
        )
        .into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&credentials.region)
            .name(SERVICE)
            .time(now.into())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let signed = [
            ("content-type", headers.content_type),
            ("host", headers.host),
            ("x-amz-target", headers.target),
        ];
        let url = format!("https://{}/", headers.host);
        let request =
            SignableRequest::new("POST", url, signed.into_iter(), SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(request, &parameters).unwrap().into_parts();
        instructions
            .headers()
            .find(|(name, _)| *name == "authorization")
            .map(|(_, value)| value.to_owned())
            .unwrap()
    }

    proptest! {
        #[test]
        fn every_signature_is_the_one_that_awss_own_implementation_makes(
            seconds in 0_i64..4_000_000_000,
            body: Vec<u8>,
            host in "[a-z0-9.-]{1,30}(:[1-9][0-9]{3})?",
            key_id in "[A-Z0-9]{16,20}",
            secret in "[A-Za-z0-9/+]{40}",
            session_token in proptest::option::of("[A-Za-z0-9/+=]{1,300}"),
            region in "[a-z]{2}-[a-z]{4,9}-[1-9]",
        ) {
            let now = Timestamp::from_second(seconds).unwrap();
            let headers =
                Headers { content_type: "application/x-amz-json-1.0", host: &host, target: "AmazonSQS.SendMessage" };
            let credentials = || Credentials {
                key_id: key_id.clone(),
                secret: Secret::new(&*secret),
                session_token: session_token.clone(),
                region: region.clone(),
            };
            let signer = Signer::new(credentials());
            let expected = reference(&credentials(), now, &headers, &body);
            prop_assert_eq!(&signer.sign(now, &headers, &body).authorization, &expected);
            prop_assert_eq!(&signer.sign(now, &headers, &body).authorization, &expected, "with the key kept");
        }
    }

    #[test]
    fn the_key_that_is_kept_is_not_used_on_another_day() {
        let credentials = || Credentials {
            key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
            region: "us-east-1".to_owned(),
        };
        let headers =
            Headers { content_type: "a/b", host: "sqs.us-east-1.amazonaws.com", target: "AmazonSQS.X" };
        let signer = Signer::new(credentials());
        for day in ["2026-11-24T23:59:59Z", "2026-11-25T00:00:00Z", "2026-11-24T23:59:59Z"] {
            let now: Timestamp = day.parse().unwrap();
            let expected = reference(&credentials(), now, &headers, b"{}");
            assert_eq!(signer.sign(now, &headers, b"{}").authorization, expected, "{day}");
        }
    }
}
