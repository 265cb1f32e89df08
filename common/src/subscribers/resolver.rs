//! A resolver that returns public addresses only.

use super::address;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::SocketAddr;
use std::sync::Arc;

/// Resolves a name and refuses it if any of its addresses is forbidden.
///
/// The connector connects to the addresses that this returns and does not resolve the name again. So a name cannot have
/// another address when it is connected to than when it was checked.
pub(super) struct CheckedResolver {
    pub(super) names: Arc<dyn Resolve>,
    pub(super) allow_loopback: bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolving, allow_loopback) = (self.names.resolve(name), self.allow_loopback);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = resolving.await?.collect();
            for address in &addresses {
                address::check(address.ip(), allow_loopback)?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The resolver of the operating system.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The connector replaces port 0.
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}
