//! What the clients of AWS services share: the HTTP client, and the region from the environment.

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_sdk_sqs::config::{Region, SharedHttpClient};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use futures::FutureExt;

/// The root certificates of AWS endpoints, from <https://www.amazontrust.com/repository/>, 2026-11.
///
/// The system's store has about 140 roots. Parsing them would be most of a cold start
/// (`common/docs/decisions/0003-tls-roots.md`).
const AMAZON_ROOTS: [&[u8]; 5] = [
    include_bytes!("amazon-roots/amazon-root-ca-1.pem"),
    include_bytes!("amazon-roots/amazon-root-ca-2.pem"),
    include_bytes!("amazon-roots/amazon-root-ca-3.pem"),
    include_bytes!("amazon-roots/amazon-root-ca-4.pem"),
    include_bytes!("amazon-roots/starfield-services-root-g2.pem"),
];

/// Returns an HTTP client that trusts Amazon's root certificates.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    let roots = AMAZON_ROOTS.iter().fold(TrustStore::empty(), |store, pem| store.with_pem_certificate(*pem));
    match TlsContext::builder().with_trust_store(roots).build() {
        Ok(context) => aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            .build_https(),
        // Unreachable: only a context with client certificates can fail. Plain HTTP cannot connect to AWS.
        Err(_) => aws_smithy_http_client::Builder::new().build_http(),
    }
}

/// Returns the region of the function.
///
/// Region and credentials come from the environment providers of `aws-config`. Its default chain would also read
/// profiles and call IMDS, ECS and STS (`common/docs/decisions/0016-aws-config-environment-providers.md`).
#[must_use]
pub fn region() -> Option<Region> {
    // The provider's future is always ready: it only reads the environment.
    EnvironmentVariableRegionProvider::new().region().now_or_never().flatten()
}
