//! `X-Twilio-Signature`. Independent of the code that the simulator tests: shared code would hide its own errors.
//!
//! <https://www.twilio.com/docs/usage/security#validating-requests>

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Returns the signature of a form POST: HMAC-SHA1 over the URL, followed by each key and value without separators.
/// Keys are in byte order, the distinct values of a key too.
pub(crate) fn sign(auth_token: &str, url: &str, form: &[(String, String)]) -> String {
    let mut text = String::from(url);
    let mut sorted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (key, value) in form {
        sorted.entry(key).or_default().insert(value);
    }
    for (key, values) in sorted {
        for value in values {
            text.push_str(key);
            text.push_str(value);
        }
    }
    STANDARD.encode(hmac_sha1(auth_token.as_bytes(), text.as_bytes()))
}

#[expect(clippy::expect_used, reason = "HMAC accepts keys of any length")]
fn hmac_sha1(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any key length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vectors of Twilio's SDK (twilio-python, `tests/unit/test_request_validator.py`).
    #[test]
    fn signatures_match_the_vectors_published_by_twilio() {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let plain = pairs(&[
            ("CallSid", "CA1234567890ABCDE"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
            ("Caller", "+14158675309"),
        ]);
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert_eq!(sign("12345", url, &plain), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
        let with_port = "https://mycompany.com:443/myapp.php?foo=1&bar=2";
        assert_eq!(sign("12345", with_port, &plain), "kvajT1Ptam85bY51eRf/AJRuM3w=");
        let repeated = pairs(&[
            ("Sid", "CA123"),
            ("SidAccount", "AC123"),
            ("Digits", "5678"),
            ("Digits", "1234"),
            ("Digits", "1234"),
        ]);
        assert_eq!(sign("12345", url, &repeated), "IK+Dwps556ElfBT0I3Rgjkr1wJU=");
    }
}
