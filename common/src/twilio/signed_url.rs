//! The forms of a URL that Twilio may have signed, as its official Python validator builds them.
//!
//! Twilio is inconsistent about ports, so its validators try the URL with and without a port. The Python validator also
//! parses and rebuilds the URL with `urllib.parse`, which changes some URLs. It is our reference (see
//! `common/src/twilio/fixtures/README.md`), so this module reproduces these changes exactly.

use percent_encoding::percent_decode;

use super::form::split_pairs;

/// The parts of a webhook URL as `urllib.parse.urlparse` returns them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SignedUrl<'a> {
    scheme: &'static str,
    authority: &'a str,
    path: &'a str,
    query: &'a str,
    fragment: &'a str,
    port: u16,
}

impl<'a> SignedUrl<'a> {
    /// Parses a URL that [`clean`] returned. Returns `None` where Python raises `ValueError` or the scheme is neither
    /// `http` nor `https`.
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        let scheme = ["https", "http"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
        let (authority, rest) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", rest),
        };
        if !brackets_are_sound(authority) || authority.contains(becomes_a_delimiter) {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Some(Self {
            scheme,
            authority,
            path: without_bare_semicolon(path),
            query,
            fragment,
            port: port(authority)?,
        })
    }

    /// Returns the URL without its port. As in the reference, this keeps the authority up to its first colon, which
    /// gives an unexpected URL if there is user information.
    pub(super) fn without_port(&self) -> String {
        if self.port == 0 {
            return self.write(self.authority, "");
        }
        self.write(self.authority.split(':').next().unwrap_or_default(), "")
    }

    /// Returns the URL with its port, or else with the default port of its scheme.
    pub(super) fn with_port(&self) -> String {
        let standard = if self.scheme == "https" { ":443" } else { ":80" };
        self.write(self.authority, if self.port == 0 { standard } else { "" })
    }

    /// Returns the first query parameter `bodySHA256` that is not empty. Twilio signs JSON bodies with it.
    pub(super) fn body_sha256(&self) -> Option<String> {
        let plus_to_space = |part: &[u8]| -> Vec<u8> {
            part.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect()
        };
        let decode = |part| percent_decode(&plus_to_space(part)).decode_utf8_lossy().into_owned();
        split_pairs(self.query.as_bytes())
            .find(|(key, value)| !value.is_empty() && decode(key) == "bodySHA256")
            .map(|(_, value)| decode(value))
    }

    /// Builds a URL as `urllib.parse.urlunparse` does, which drops an empty query and fragment.
    fn write(&self, authority: &str, port: &str) -> String {
        let Self { scheme, path, query, fragment, .. } = self;
        let mut url = format!("{scheme}:");
        if !authority.is_empty() || !port.is_empty() || !path.starts_with("//") {
            let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
            url.extend(["//", authority, port, slash]);
        }
        url.push_str(path);
        if !query.is_empty() {
            url.extend(["?", query]);
        }
        if !fragment.is_empty() {
            url.extend(["#", fragment]);
        }
        url
    }
}

/// Removes the characters that `urllib.parse.urlsplit` removes: leading controls and spaces, and all tabs and line
/// ends.
pub(super) fn clean(url: &str) -> String {
    url.trim_start_matches(|c| c <= ' ').replace(['\t', '\r', '\n'], "")
}

/// Removes a single semicolon at the end of the last path segment, which `urlparse` and `geturl` lose.
fn without_bare_semicolon(path: &str) -> &str {
    let segment = path.rfind('/').unwrap_or(0);
    match path[segment..].find(';') {
        Some(at) if segment + at + 1 == path.len() => &path[..segment + at],
        _ => path,
    }
}

/// Returns the port, or 0 if there is none (as in the reference), or `None` if it is not valid.
fn port(authority: &str) -> Option<u16> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.split_once('[') {
        Some((_, bracketed)) => bracketed.split_once(']').map_or("", |(_, rest)| rest),
        None => host,
    };
    let port = host.split_once(':').map_or("", |(_, port)| port);
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port = port.trim_start_matches('0');
    if port.is_empty() { Some(0) } else { port.parse().ok() }
}

fn brackets_are_sound(authority: &str) -> bool {
    match (authority.split_once('['), authority.contains(']')) {
        (None, has_close) => !has_close,
        (Some(_), false) => false,
        (Some((_, bracketed)), true) => {
            let host = bracketed.split_once(']').map_or(bracketed, |(host, _)| host);
            host.strip_prefix('v').map_or_else(|| is_ipv6(host), is_ip_future)
        }
    }
}

/// Returns whether `rest` is the part of an `IPvFuture` address after its `v` (RFC 3986 §3.2.2), with Python's checks:
/// a hexadecimal version, a dot, and any other text.
fn is_ip_future(rest: &str) -> bool {
    rest.split_once('.').is_some_and(|(version, address)| {
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit()) && !address.is_empty()
    })
}

fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, "zone"));
    !zone.is_empty() && !zone.contains('%') && address.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Returns whether NFKC normalization of the character contains one of `/ ? # @ :`, which Python rejects in an
/// authority. Generated with Python 3.11's `unicodedata` (Unicode 14), 2026-11-23.
fn becomes_a_delimiter(c: char) -> bool {
    matches!(
        c,
        '\u{2047}'..='\u{2049}'
            | '\u{2100}'..='\u{2101}'
            | '\u{2105}'..='\u{2106}'
            | '\u{2a74}'
            | '\u{fe13}'
            | '\u{fe16}'
            | '\u{fe55}'..='\u{fe56}'
            | '\u{fe5f}'
            | '\u{fe6b}'
            | '\u{ff03}'
            | '\u{ff0f}'
            | '\u{ff1a}'
            | '\u{ff1f}'..='\u{ff20}'
    )
}
