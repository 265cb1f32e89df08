//! Verifies Twilio's webhook signatures: <https://www.twilio.com/docs/usage/webhooks/webhooks-security>.
//!
//! The reference is Twilio's official Python validator, version 9.13. [`verify`] returns the same result, and `false`
//! where the reference raises an exception. `fixtures/README.md` describes the test cases.

use super::form::Form;
use super::signed_url::{SignedUrl, clean};
use crate::config::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The header with the signature.
pub const SIGNATURE_HEADER: &str = "x-twilio-signature";

/// The header with the algorithm, for webhooks signed with a shared key.
pub const SETTINGS_HEADER: &str = "x-twilio-webhooks-signature-settings";

/// The signed part of a request besides its URL.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// The parameters of a form body; empty for GET, whose parameters are in the URL.
    Form(&'a Form),
    /// Any other body, signed with its SHA-256 in the query parameter `bodySHA256`.
    Body(&'a [u8]),
}

/// The signed parts of a received request.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The domain name of the endpoint that received the request. Used only if no base URL is configured. It must not
    /// come from the sender.
    pub domain_name: Option<&'a str>,
    /// The path exactly as received, with its percent-encoding.
    pub raw_path: &'a str,
    /// The query exactly as received, without `?`; empty if there is none.
    pub raw_query: &'a str,
    /// The signed part besides the URL.
    pub payload: Payload<'a>,
    /// The value of [`SIGNATURE_HEADER`].
    pub signature: Option<&'a str>,
    /// The value of [`SETTINGS_HEADER`].
    pub settings: Option<&'a str>,
}

/// The reason for rejecting a signature. For logs only, not for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature header is missing or empty.
    #[error("the request has no signature")]
    Missing,
    /// The settings header contains an algorithm that Twilio's validator does not support.
    #[error("the signature algorithm is unknown")]
    UnknownAlgorithm,
    /// The signature does not match for any combination of Auth Token and public URL.
    #[error("the signature does not match any auth token and public URL")]
    Wrong,
}

/// Verifies signatures with a list of Auth Tokens, for rotation, and a list of public base URLs.
///
/// The base URLs are configured, or built from the domain name of the endpoint, because the `Host` header, which the
/// sender controls, cannot be trusted.
#[derive(Debug, Clone)]
pub struct Verifier {
    tokens: Vec<Secret>,
    base_urls: Vec<String>,
}

impl Verifier {
    /// Creates a verifier for Auth Tokens (or shared keys) and the base URLs of our webhooks. Without base URLs,
    /// requests must be signed for `https://` and [`SignedRequest::domain_name`].
    ///
    /// Removes a fragment such as `#rc=5&rp=all`, which Twilio's console allows for connection overrides and does not
    /// send. Accepts signatures with and without user information: Twilio removes it before signing, its validators do
    /// not.
    #[must_use]
    pub fn new(tokens: Vec<Secret>, base_urls: &[String]) -> Self {
        let mut bases: Vec<String> = Vec::with_capacity(base_urls.len());
        for url in base_urls {
            let base = url.split('#').next().unwrap_or_default().trim_end_matches('/');
            for base in [base.to_owned(), without_user_information(base)] {
                if !bases.contains(&base) {
                    bases.push(base);
                }
            }
        }
        Self { tokens, base_urls: bases }
    }

    /// Verifies the signature of a request.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] if the signature is not valid. Respond with 403, with the same body for each reason.
    pub fn verify(&self, request: &SignedRequest<'_>) -> Result<(), SignatureError> {
        let signature = request.signature.filter(|value| !value.is_empty()).ok_or(SignatureError::Missing)?;
        let algorithm =
            Algorithm::named(algorithm_of(request.settings)).ok_or(SignatureError::UnknownAlgorithm)?;
        let signed_parameters = signed_parameters(request.payload);
        let query_mark = if request.raw_query.is_empty() { "" } else { "?" };
        let own =
            request.domain_name.filter(|_| self.base_urls.is_empty()).map(|name| format!("https://{name}"));
        let is_signed = self.base_urls.iter().chain(&own).any(|base| {
            let url = [base, request.raw_path, query_mark, request.raw_query].concat();
            let Some(texts) = signed_texts(&url, request.payload, &signed_parameters) else { return false };
            self.tokens.iter().any(|token| algorithm.matches(token.expose(), &texts, signature))
        });
        if is_signed { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

/// Returns the result of `RequestValidator(token).validate(url, params, signature, algorithm)` in Twilio's Python
/// library.
///
/// `algorithm` is the name from the settings header ([`algorithm_of`]); `None` means HMAC-SHA1.
#[must_use]
pub fn verify(
    url: &str,
    payload: Payload<'_>,
    token: &str,
    signature: &str,
    algorithm: Option<&str>,
) -> bool {
    let Some(algorithm) = Algorithm::named(algorithm) else { return false };
    let signed_parameters = signed_parameters(payload);
    signed_texts(url, payload, &signed_parameters)
        .is_some_and(|texts| algorithm.matches(token, &texts, signature))
}

/// Returns the algorithm from a settings header such as `key=…,algorithm=HMAC_SHA256`.
#[must_use]
pub fn algorithm_of(settings: Option<&str>) -> Option<&str> {
    settings?
        .split(',')
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .find(|(name, value)| *name == "algorithm" && !value.is_empty())
        .map(|(_, value)| value)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    HmacSha1,
    HmacSha256,
}

impl Algorithm {
    fn named(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or_default().to_uppercase().as_str() {
            "" | "HMAC_SHA1" => Some(Self::HmacSha1),
            "HMAC_SHA256" => Some(Self::HmacSha256),
            _ => None,
        }
    }

    /// Compares the signature of each text with the received one in constant time, without stopping at a match.
    fn matches(self, token: &str, texts: &[String], signature: &str) -> bool {
        let compare = |text: &String| {
            let expected = STANDARD.encode(self.sign(token.as_bytes(), text.as_bytes()));
            expected.as_bytes().ct_eq(signature.as_bytes())
        };
        texts.iter().map(compare).fold(Choice::from(0), |any, one| any | one).into()
    }

    fn sign(self, token: &[u8], text: &[u8]) -> Vec<u8> {
        match self {
            Self::HmacSha1 => mac::<Hmac<sha1::Sha1>>(token, text),
            Self::HmacSha256 => mac::<Hmac<Sha256>>(token, text),
        }
    }
}

fn mac<M: Mac + KeyInit>(token: &[u8], text: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = <M as KeyInit>::new_from_slice(token).expect("HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// Returns the possible signed texts, or `None` if no signature is valid for this request.
fn signed_texts(url: &str, payload: Payload<'_>, signed_parameters: &str) -> Option<Vec<String>> {
    let url = clean(url);
    let url = SignedUrl::parse(&url)?;
    if let Payload::Body(body) = payload {
        match url.body_sha256() {
            // As in the reference, an upper-case digest does not match.
            Some(digest) => {
                let expected = hex::encode(Sha256::digest(body));
                if !bool::from(expected.as_bytes().ct_eq(digest.as_bytes())) {
                    return None;
                }
            }
            None if body.is_empty() => {}
            None => return None,
        }
    }
    let mut variants = vec![url.without_port()];
    let with_port = url.with_port();
    if !variants.contains(&with_port) {
        variants.push(with_port);
    }
    for variant in &mut variants {
        variant.push_str(signed_parameters);
    }
    Some(variants)
}

/// Returns the signed text after the URL: each distinct pair once, sorted by key, then by value.
fn signed_parameters(payload: Payload<'_>) -> String {
    let Payload::Form(form) = payload else { return String::new() };
    let mut pairs: Vec<(&str, &str)> = form.pairs().collect();
    // The reference sorts by code points, which is the same order as by UTF-8 bytes.
    pairs.sort_unstable();
    pairs.dedup();
    pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()
}

fn without_user_information(base: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else { return base.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    [scheme, "://", host, path].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const SIGNATURE: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";

    fn twilios_example() -> Form {
        let encoded = b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309\
            &To=%2B18005551212";
        Form::from_urlencoded(encoded).unwrap()
    }

    fn verifier(tokens: &[&str], base_urls: &[&str]) -> Verifier {
        let base_urls: Vec<String> = base_urls.iter().map(|&url| url.to_owned()).collect();
        Verifier::new(tokens.iter().map(|&token| Secret::new(token)).collect(), &base_urls)
    }

    fn check(verifier: &Verifier, form: &Form, signature: Option<&str>) -> Result<(), SignatureError> {
        check_at(verifier, None, form, signature)
    }

    fn check_at(
        verifier: &Verifier,
        domain_name: Option<&str>,
        form: &Form,
        signature: Option<&str>,
    ) -> Result<(), SignatureError> {
        verifier.verify(&SignedRequest {
            domain_name,
            raw_path: "/myapp.php",
            raw_query: "foo=1&bar=2",
            payload: Payload::Form(form),
            signature,
            settings: None,
        })
    }

    #[test]
    fn the_test_vectors_of_twilios_sdks_are_valid() {
        let form = twilios_example();
        let body = br#"{"property": "value", "boolean": true}"#;
        let json_url =
            format!("{URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620");
        let repeated =
            Form::from_urlencoded(b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234");
        assert!(verify(URL, Payload::Form(&form), "12345", SIGNATURE, None));
        assert!(verify(URL, Payload::Form(&form), "12345", "kvajT1Ptam85bY51eRf/AJRuM3w=", None));
        assert!(verify(
            URL,
            Payload::Form(&repeated.unwrap()),
            "12345",
            "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
            None
        ));
        assert!(verify(&json_url, Payload::Body(body), "12345", "a9nBmqA0ju/hNViExpshrM61xv4=", None));
        assert!(!verify(&json_url, Payload::Body(b"{}"), "12345", "a9nBmqA0ju/hNViExpshrM61xv4=", None));
    }

    #[test]
    fn any_combination_of_auth_token_and_public_url_is_accepted() {
        let form = twilios_example();
        let many = verifier(&["new", "12345"], &["http://127.0.0.1:9000", "https://mycompany.com/"]);
        assert_eq!(check(&many, &form, Some(SIGNATURE)), Ok(()));
        let wrong_token = verifier(&["new"], &["https://mycompany.com"]);
        assert_eq!(check(&wrong_token, &form, Some(SIGNATURE)), Err(SignatureError::Wrong));
        let wrong_url = verifier(&["12345"], &["https://mycompany.com/other", "http://mycompany.com"]);
        assert_eq!(check(&wrong_url, &form, Some(SIGNATURE)), Err(SignatureError::Wrong));
        assert_eq!(check(&verifier(&[], &[]), &form, Some(SIGNATURE)), Err(SignatureError::Wrong));
    }

    #[test]
    fn the_domain_name_is_used_only_without_base_urls() {
        let form = twilios_example();
        let signed =
            |bases: &[&str], name| check_at(&verifier(&["12345"], bases), name, &form, Some(SIGNATURE));
        assert_eq!(signed(&[], Some("mycompany.com")), Ok(()));
        assert_eq!(signed(&[], Some("other.com")), Err(SignatureError::Wrong));
        assert_eq!(signed(&[], Some("")), Err(SignatureError::Wrong));
        assert_eq!(signed(&["https://mycompany.com"], Some("other.com")), Ok(()));
        assert_eq!(signed(&["https://other.com"], Some("mycompany.com")), Err(SignatureError::Wrong));
    }

    #[test]
    fn a_base_url_may_contain_connection_overrides_and_user_information() {
        let form = twilios_example();
        for base in [
            "https://mycompany.com#rc=5&rp=all",
            "https://user:p%40ss@mycompany.com",
            "HTTPS://mycompany.com",
        ] {
            assert_eq!(check(&verifier(&["12345"], &[base]), &form, Some(SIGNATURE)), Ok(()), "{base}");
        }
    }

    #[test]
    fn a_missing_wrong_or_non_ascii_signature_is_rejected() {
        let (form, verifier) = (twilios_example(), verifier(&["12345"], &["https://mycompany.com"]));
        assert_eq!(check(&verifier, &form, None), Err(SignatureError::Missing));
        assert_eq!(check(&verifier, &form, Some("")), Err(SignatureError::Missing));
        let wrong = [
            "RSOYDt4T1cUTdK1PDd93/VVr8B8",
            "RSOYDt4T1cUTdK1PDd93/VVr8B8= ",
            "rSOYDt4T1cUTdK1PDd93/VVr8B8=",
            "ＲSOYDt4T1cUTdK1PDd93/VVr8B8=",
            "=",
        ];
        for wrong in wrong {
            assert_eq!(check(&verifier, &form, Some(wrong)), Err(SignatureError::Wrong), "{wrong}");
        }
    }

    #[test]
    fn a_changed_added_or_removed_parameter_invalidates_the_signature() {
        let verifier = verifier(&["12345"], &["https://mycompany.com"]);
        let form = twilios_example();
        let pairs: Vec<(&str, &str)> = form.pairs().collect();
        for place in 0..pairs.len() {
            let (mut changed, mut dropped, mut doubled) = (pairs.clone(), pairs.clone(), pairs.clone());
            let with_a_space = format!("{} ", pairs[place].1);
            changed[place].1 = &with_a_space;
            dropped.remove(place);
            doubled.push((pairs[place].0, ""));
            doubled.push((pairs[place].0, "x"));
            for pairs in [changed, dropped, doubled] {
                let form = Form::from_iter(pairs);
                assert_eq!(check(&verifier, &form, Some(SIGNATURE)), Err(SignatureError::Wrong));
            }
        }
    }

    #[test]
    fn the_algorithm_is_read_from_the_settings_header() {
        let cases = [
            (None, None),
            (Some(""), None),
            (Some("key=k"), None),
            (Some("algorithm="), None),
            (Some("key=k,algorithm=HMAC_SHA256"), Some("HMAC_SHA256")),
            (Some(" algorithm = hmac_sha256 , key=k"), Some("hmac_sha256")),
            (Some("algorithm=,algorithm=a=b"), Some("a=b")),
            (Some("Algorithm=HMAC_SHA256"), None),
        ];
        for (header, name) in cases {
            assert_eq!(algorithm_of(header), name, "{header:?}");
        }
        let (form, verifier) = (twilios_example(), verifier(&["12345"], &["https://mycompany.com"]));
        let refused = verifier.verify(&SignedRequest {
            domain_name: None,
            raw_path: "/myapp.php",
            raw_query: "foo=1&bar=2",
            payload: Payload::Form(&form),
            signature: Some(SIGNATURE),
            settings: Some("algorithm=HMAC_MD5"),
        });
        assert_eq!(refused, Err(SignatureError::UnknownAlgorithm));
    }

    /// One line of a case file written by `fixtures/make_signatures.py`.
    #[derive(serde::Deserialize)]
    struct Case {
        url: String,
        params: Vec<(String, String)>,
        auth_token: String,
        signature: String,
        valid: bool,
        algorithm: Option<String>,
        json_body: Option<String>,
    }

    impl Case {
        fn verify(&self) -> bool {
            let form = self.params.iter().map(|(key, value)| (key, value)).collect();
            let payload =
                self.json_body.as_ref().map_or(Payload::Form(&form), |body| Payload::Body(body.as_bytes()));
            verify(&self.url, payload, &self.auth_token, &self.signature, self.algorithm.as_deref())
        }
    }

    #[test]
    fn results_agree_with_twilios_python_validator() {
        let mut lines = include_str!("fixtures/signatures.jsonl").to_owned();
        if let Ok(path) = std::env::var("SIGNATURE_CASES") {
            lines.push_str(&std::fs::read_to_string(path).unwrap());
        }
        let (mut total, mut valid, mut disagreements) = (0, 0, Vec::new());
        for line in lines.lines() {
            let case: Case = serde_json::from_str(line).unwrap();
            total += 1;
            valid += usize::from(case.valid);
            if case.verify() != case.valid {
                disagreements.push(line);
            }
        }
        println!("cases={total} valid={valid} disagreements={}", disagreements.len());
        assert!(valid > total / 4 && valid < total, "valid and invalid cases are tested");
        assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    }
}
