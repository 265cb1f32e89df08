//! Which URLs from outside this service may send a request to: https, and public addresses only.
//!
//! Every address is checked by the connector that connects to it, so a name cannot change between the check and the
//! connection (`common/docs/decisions/0028-destinations.md`).

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use url::{Host, Url};

/// A URL that is not allowed. The text names neither the address of a name nor the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPublic {
    /// The scheme is not `https`.
    #[error("must be an https URL")]
    NotHttps,
    /// The host is, or one of its addresses is, of this kind.
    #[error("must have public addresses only, but the host has {0} address")]
    Address(&'static str),
}

impl NotPublic {
    /// Finds the resolver's refusal among the causes of an error.
    #[must_use]
    pub fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// Checks what can be checked without resolving the host. With `allow_loopback`, URLs of this machine are allowed too,
/// with or without TLS.
///
/// # Errors
///
/// [`NotPublic`]: do not send the request.
pub fn check_url(url: &Url, allow_loopback: bool) -> Result<(), NotPublic> {
    // The connector does not resolve an IP address, so it is checked here, before every request.
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) | None => None,
    };
    if let Some(address) = address {
        check(address, allow_loopback)?;
    }
    let is_local = match address {
        Some(address) => address.is_loopback(),
        None => url.host_str() == Some("localhost"),
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if allow_loopback && is_local => Ok(()),
        _ => Err(NotPublic::NotHttps),
    }
}

/// Resolves a name and refuses it if any of its addresses is forbidden.
///
/// The connector connects to the addresses that this returns and does not resolve the name again. So a name cannot have
/// another address when it is connected to than when it was checked.
pub struct CheckedResolver {
    names: Arc<dyn Resolve>,
    allow_loopback: bool,
}

impl CheckedResolver {
    /// Creates a resolver that checks what another one returns.
    #[must_use]
    pub fn new(names: Arc<dyn Resolve>, allow_loopback: bool) -> Self {
        Self { names, allow_loopback }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolving, allow_loopback) = (self.names.resolve(name), self.allow_loopback);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = resolving.await?.collect();
            for address in &addresses {
                check(address.ip(), allow_loopback)?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The resolver of the operating system.
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The connector replaces port 0.
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// The IPv4 networks that are not public, with the kind of their addresses.
///
/// From <https://www.iana.org/assignments/iana-ipv4-special-registry>, 2026-06: all entries that are not globally
/// reachable. Added: multicast, and the address of Azure's platform services.
const FORBIDDEN_V4: [(Ipv4Net, &str); 17] = [
    (v4(0, 0, 0, 0, 8), "an unspecified"),
    (v4(10, 0, 0, 0, 8), "a private"),
    (v4(100, 64, 0, 0, 10), "a shared (CGNAT)"),
    (v4(127, 0, 0, 0, 8), "a loopback"),
    (v4(168, 63, 129, 16, 32), "a metadata"),
    (v4(169, 254, 0, 0, 16), "a link-local or metadata"),
    (v4(172, 16, 0, 0, 12), "a private"),
    (v4(192, 0, 0, 0, 24), "a protocol"),
    (v4(192, 0, 2, 0, 24), "a documentation"),
    (v4(192, 88, 99, 0, 24), "a 6to4"),
    (v4(192, 168, 0, 0, 16), "a private"),
    (v4(198, 18, 0, 0, 15), "a benchmarking"),
    (v4(198, 51, 100, 0, 24), "a documentation"),
    (v4(203, 0, 113, 0, 24), "a documentation"),
    (v4(224, 0, 0, 0, 4), "a multicast"),
    // The most specific network of an address comes first.
    (v4(255, 255, 255, 255, 32), "a broadcast"),
    (v4(240, 0, 0, 0, 4), "a reserved"),
];

/// The only IPv6 network with public addresses: <https://www.iana.org/assignments/ipv6-address-space>, 2026-06.
const GLOBAL_UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The IPv6 networks that are not public, with the kind of their addresses. [`GLOBAL_UNICAST_V6`] excludes most of
/// them; they are here for the message.
///
/// From <https://www.iana.org/assignments/iana-ipv6-special-registry>, 2026-06. Addresses that contain an IPv4 address
/// are forbidden whatever that is: a gateway could translate them to a private one.
const FORBIDDEN_V6: [(Ipv6Net, &str); 18] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "an unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "a loopback"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "an IPv4-mapped"),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "an IPv4-translated"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "an IPv4-compatible"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "a NAT64"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "a NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "a discard-only"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "a Teredo"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "a protocol"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "a documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "a 6to4"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "a documentation"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "a segment routing"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "a private"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "a link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "a site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "a multicast"),
];

/// Checks that an address is public. With `allow_loopback`, loopback addresses are allowed too.
fn check(address: IpAddr, allow_loopback: bool) -> Result<(), NotPublic> {
    // Not `is_loopback` of an IPv4-mapped address, which is forbidden.
    if allow_loopback && address.is_loopback() {
        return Ok(());
    }
    kind(address).map_or(Ok(()), |kind| Err(NotPublic::Address(kind)))
}

/// Returns the kind of an address that is not public.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            FORBIDDEN_V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, kind)| *kind)
        }
        IpAddr::V6(address) => match FORBIDDEN_V6.iter().find(|(net, _)| net.contains(&address)) {
            Some((_, kind)) => Some(kind),
            None if GLOBAL_UNICAST_V6.contains(&address) => None,
            None => Some("a reserved"),
        },
    }
}
