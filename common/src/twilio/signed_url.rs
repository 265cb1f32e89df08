//! The spellings of a URL that Twilio may have signed, as its official Python validator makes them.
//!
//! Twilio's signing is inconsistent about ports, so its validators try the URL without its port and with one. The
//! Python one also writes the URL anew with `urllib.parse`, which changes some URLs; since it is the reference (see
//! `common/src/twilio/fixtures/README.md`), this module follows it to the letter, oddities included.

use percent_encoding::percent_decode;

use super::form::split_pairs;

/// A webhook's URL, taken apart as `urllib.parse.urlparse` does.
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
    /// Takes `url` apart, or returns `None` where Python raises `ValueError` or the scheme isn't one Twilio calls.
    ///
    /// `url` has been through [`clean`].
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

    /// Writes the URL without its port. With user information this is not the URL one would expect, but the part
    /// before the first colon is what the reference keeps.
    pub(super) fn without_port(&self) -> String {
        if self.port == 0 {
            return self.write(self.authority, "");
        }
        self.write(self.authority.split(':').next().unwrap_or_default(), "")
    }

    /// Writes the URL with its port, or with its scheme's.
    pub(super) fn with_port(&self) -> String {
        let standard = if self.scheme == "https" { ":443" } else { ":80" };
        self.write(self.authority, if self.port == 0 { standard } else { "" })
    }

    /// Returns the `bodySHA256` parameter of the query, by which Twilio signs a JSON body: the first that isn't empty.
    pub(super) fn body_sha256(&self) -> Option<String> {
        let plus_to_space = |part: &[u8]| -> Vec<u8> {
            part.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect()
        };
        let decode = |part| percent_decode(&plus_to_space(part)).decode_utf8_lossy().into_owned();
        split_pairs(self.query.as_bytes())
            .find(|(key, value)| !value.is_empty() && decode(key) == "bodySHA256")
            .map(|(_, value)| decode(value))
    }

    /// `urllib.parse.urlunparse`, which drops a bare `?` and `#`.
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

/// Removes what `urllib.parse.urlsplit` removes first: controls and spaces in front, tabs and line ends anywhere.
pub(super) fn clean(url: &str) -> String {
    url.trim_start_matches(|c| c <= ' ').replace(['\t', '\r', '\n'], "")
}

/// A semicolon at the very end of the last path segment, with nothing behind it, is lost on the way through
/// `urlparse` and `geturl`.
fn without_bare_semicolon(path: &str) -> &str {
    let segment = path.rfind('/').unwrap_or(0);
    match path[segment..].find(';') {
        Some(at) if segment + at + 1 == path.len() => &path[..segment + at],
        _ => path,
    }
}

/// Returns the port, 0 for none (the reference takes a port of 0 for none too), `None` if it isn't a port.
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

/// `v` with a version in hexadecimal, a dot, and anything on one line (RFC 3986 §3.2.2, as far as Python checks it).
fn is_ip_future(rest: &str) -> bool {
    rest.split_once('.').is_some_and(|(version, address)| {
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit()) && !address.is_empty()
    })
}

fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, "zone"));
    !zone.is_empty() && !zone.contains('%') && address.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Characters that Unicode's NFKC turns into text with one of `/ ? # @ :`, which Python refuses in an authority.
/// Made with Python 3.11's `unicodedata` (Unicode 14), 2026-11-23.
fn becomes_a_delimiter(c: char) -> bool {
    matches!(
        c,
        '\u{2047}'..='\u{2049}' | '\u{2100}'..='\u{2101}' | '\u{2105}'..='\u{2106}' | '\u{2a74}' | '\u{fe13}' | '\u{fe16}' | '\u{fe55}'..='\u{fe56}' | '\u{fe5f}' | '\u{fe6b}' | '\u{ff03}' | '\u{ff0f}' | '\u{ff1a}' | '\u{ff1f}'..='\u{ff20}'
    )
}
