//! The client of one bucket.

use super::StorageError;
use crate::config::{Env, process};
use crate::{clock, tls};
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::meta::region::ProvideRegion;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Client, Method, Response, StatusCode};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use sha2::{Digest, Sha256};
use std::time::Duration;
use url::Url;

/// How long a signed URL is valid: longer than the largest `STORAGE_TIMEOUT_MS`.
const SIGNED_FOR: Duration = Duration::from_secs(900);
/// The number of attempts of a request.
const ATTEMPTS: u32 = 4;
/// The pause before the second attempt. It doubles, with jitter.
const PAUSE: Duration = Duration::from_millis(100);
/// The maximum size of a response that is not an object: a list of 1,000 keys has less.
const MAX_XML: usize = 4 * 1024 * 1024;
/// S3's header for the SHA-256 of a body, in Base64. S3 rejects a body that does not match.
const CHECKSUM: &str = "x-amz-checksum-sha256";

/// Configuration of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    bucket: String,
    timeout: Duration,
}

impl StorageConfig {
    /// Reads the name of a bucket from `variable`, and `STORAGE_TIMEOUT_MS` (30 000): the timeout of one attempt,
    /// including the body. The inner `Option` is `None` if the variable is not set.
    pub fn optional(env: &mut Env<'_>, variable: &'static str) -> Option<Option<Self>> {
        let bucket = env.optional_text(variable);
        let timeout = env.millis("STORAGE_TIMEOUT_MS", 100..=600_000, 30_000);
        let (bucket, timeout) = (bucket?, timeout?);
        Some(bucket.map(|bucket| Self { bucket, timeout }))
    }

    /// Reads the name of a required bucket from `variable`, and `STORAGE_TIMEOUT_MS` (see [`StorageConfig::optional`]).
    pub fn required(env: &mut Env<'_>, variable: &'static str) -> Option<Self> {
        let bucket = env.text(variable);
        let timeout = env.millis("STORAGE_TIMEOUT_MS", 100..=600_000, 30_000);
        Some(Self { bucket: bucket?, timeout: timeout? })
    }

    /// Creates a configuration with the default timeout.
    #[must_use]
    pub fn for_bucket(bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), timeout: Duration::from_secs(30) }
    }
}

/// The server of a bucket.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The base URL, without the bucket.
    pub url: Url,
    /// The region in the signature.
    pub region: String,
    /// Whether the bucket is part of the host name, as S3 recommends, or of the path.
    pub has_bucket_in_host: bool,
}

impl Endpoint {
    /// Returns `AWS_ENDPOINT_URL_S3`, which the local stack sets, or S3's endpoint of `AWS_REGION`.
    fn from_env() -> Result<Self, StorageError> {
        // The provider's future is always ready: it only reads the environment.
        let region = EnvironmentVariableRegionProvider::new().region().now_or_never().flatten();
        let region = region.ok_or_else(|| StorageError::Setup("AWS_REGION is missing".into()))?.to_string();
        let own = process("AWS_ENDPOINT_URL_S3").filter(|url| !url.is_empty());
        let has_bucket_in_host = own.is_none();
        let url = own.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let url = Url::parse(&url).map_err(|error| StorageError::Setup(error.into()))?;
        Ok(Self { url, region, has_bucket_in_host })
    }
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Objects and folders directly below a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects, by key.
    pub objects: Vec<StoredObject>,
    /// The prefixes of further objects, each with a `/` at the end.
    pub folders: Vec<String>,
}

/// The body of an object, which is read in chunks.
#[derive(Debug)]
pub struct Download(Response);

impl Download {
    /// Returns the next chunk, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`StorageError::Http`] if the connection breaks off. Start the download again.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, StorageError> {
        self.0.chunk().await.map_err(|source| http("read an object", source))
    }
}

/// Objects of one bucket.
#[derive(Debug, Clone)]
pub struct Storage {
    bucket: Bucket,
    credentials: SharedCredentialsProvider,
    http: Client,
}

impl Storage {
    /// Creates a client. It connects with the first request.
    ///
    /// Region, endpoint and credentials come from the environment
    /// (`common/docs/decisions/0016-aws-config-environment-providers.md`).
    ///
    /// # Errors
    ///
    /// [`StorageError::Setup`]. The function should not start.
    pub fn new(config: &StorageConfig) -> Result<Self, StorageError> {
        let credentials = SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new());
        Self::at(&Endpoint::from_env()?, config, credentials)
    }

    /// Creates a client of another server.
    ///
    /// # Errors
    ///
    /// See [`Storage::new`].
    pub fn at(
        endpoint: &Endpoint,
        config: &StorageConfig,
        credentials: SharedCredentialsProvider,
    ) -> Result<Self, StorageError> {
        let style = if endpoint.has_bucket_in_host { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let (url, region) = (endpoint.url.clone(), endpoint.region.clone());
        let bucket = Bucket::new(url, style, config.bucket.clone(), region)
            .map_err(|error| StorageError::Setup(error.to_string().into()))?;
        let tls = tls::client_config(&endpoint.url).map_err(|error| StorageError::Setup(error.into()))?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .timeout(config.timeout)
            .user_agent(concat!("sms-foundation/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| StorageError::Setup(error.into()))?;
        Ok(Self { bucket, credentials, http })
    }

    /// Stores an object, or replaces it. S3 compares the body with its SHA-256.
    ///
    /// # Errors
    ///
    /// [`StorageError`]. The object is as before or has the new body, never a part of it.
    pub async fn put(&self, key: &str, body: Bytes, content_type: &'static str) -> Result<(), StorageError> {
        const PUT: &str = "store an object";
        check_key(key)?;
        let checksum = STANDARD.encode(Sha256::digest(&body));
        self.retrying(async || {
            let credentials = self.credentials().await?;
            let mut action = self.bucket.put_object(Some(&credentials), key);
            action.headers_mut().insert(CHECKSUM, checksum.as_str());
            action.headers_mut().insert("content-type", content_type);
            let request = self
                .http
                .request(Method::PUT, action.sign_with_time(SIGNED_FOR, &clock::now()))
                .header(CHECKSUM, &checksum)
                .header(CONTENT_TYPE, content_type)
                .header(CONTENT_LENGTH, body.len())
                .body(body.clone());
            accepted(PUT, request.send().await).await.map(drop)
        })
        .await
    }

    /// Returns the body of an object, or `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// [`StorageError`]. Without the permission to list the bucket, S3 responds 403 for an object that does not exist.
    pub async fn get(&self, key: &str) -> Result<Option<Download>, StorageError> {
        check_key(key)?;
        let outcome = self
            .retrying(async || {
                let credentials = self.credentials().await?;
                let action = self.bucket.get_object(Some(&credentials), key);
                let url = action.sign_with_time(SIGNED_FOR, &clock::now());
                accepted("read an object", self.http.get(url).send().await).await
            })
            .await;
        match outcome {
            Ok(response) => Ok(Some(Download(response))),
            Err(StorageError::Refused { code, .. }) if code == "NoSuchKey" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a URL with which a browser downloads an object, without other credentials. The browser gets the given
    /// type, and saves the object as a file with the given name instead of showing it. Whether the object exists is not
    /// checked.
    ///
    /// The URL also ends with the credentials that sign it, which in Lambda are valid for hours.
    ///
    /// # Errors
    ///
    /// [`StorageError::Credentials`], or [`StorageError::Key`].
    pub async fn presigned_get(
        &self,
        key: &str,
        valid_for: Duration,
        content_type: &str,
        file_name: &str,
    ) -> Result<Url, StorageError> {
        check_key(key)?;
        let credentials = self.credentials().await?;
        let mut action = self.bucket.get_object(Some(&credentials), key);
        let query = action.query_mut();
        query.insert("response-cache-control", "private, no-store");
        query.insert("response-content-disposition", format!("attachment; filename=\"{file_name}\""));
        query.insert("response-content-type", content_type.to_owned());
        Ok(action.sign_with_time(valid_for, &clock::now()))
    }

    /// Returns the size of an object in bytes, or `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// See [`Storage::get`].
    pub async fn head(&self, key: &str) -> Result<Option<u64>, StorageError> {
        const HEAD: &str = "look for an object";
        check_key(key)?;
        let outcome = self
            .retrying(async || {
                let credentials = self.credentials().await?;
                let action = self.bucket.head_object(Some(&credentials), key);
                let url = action.sign_with_time(SIGNED_FOR, &clock::now());
                accepted(HEAD, self.http.head(url).send().await).await
            })
            .await;
        match outcome {
            // reqwest's `content_length` is that of the body, which a HEAD response does not have.
            Ok(response) => {
                let size = response.headers().get(CONTENT_LENGTH).and_then(|size| size.to_str().ok());
                let size = size.and_then(|size| size.parse().ok());
                let unreadable =
                    || StorageError::Unreadable { operation: HEAD, reason: "no content-length".to_owned() };
                size.map(Some).ok_or_else(unreadable)
            }
            Err(StorageError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object, if it exists. A bucket with versions keeps it as an old version.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        check_key(key)?;
        self.retrying(async || {
            let credentials = self.credentials().await?;
            let action = self.bucket.delete_object(Some(&credentials), key);
            let url = action.sign_with_time(SIGNED_FOR, &clock::now());
            accepted("delete an object", self.http.delete(url).send().await).await.map(drop)
        })
        .await
    }

    /// Lists objects whose keys start with a prefix and have no further `/`, and the folders of the others.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub async fn list(&self, prefix: &str) -> Result<Listing, StorageError> {
        const LIST: &str = "list objects";
        let mut listing = Listing::default();
        let mut token: Option<String> = None;
        loop {
            let text = self
                .retrying(async || {
                    let credentials = self.credentials().await?;
                    let mut action = self.bucket.list_objects_v2(Some(&credentials));
                    action.with_prefix(prefix);
                    action.with_delimiter("/");
                    if let Some(token) = &token {
                        action.with_continuation_token(token.as_str());
                    }
                    let url = action.sign_with_time(SIGNED_FOR, &clock::now());
                    xml(LIST, accepted(LIST, self.http.get(url).send().await).await?).await
                })
                .await?;
            let page = ListObjectsV2::parse_response(&text)
                .map_err(|error| StorageError::Unreadable { operation: LIST, reason: error.to_string() })?;
            let objects = page.contents.into_iter();
            listing.objects.extend(
                objects.map(|object| StoredObject { key: object.key, size: object.size.unwrap_or(0) }),
            );
            listing.folders.extend(page.common_prefixes.into_iter().map(|folder| folder.prefix));
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(listing);
            }
        }
    }

    async fn credentials(&self) -> Result<Credentials, StorageError> {
        let found = self.credentials.provide_credentials().await;
        let found = found.map_err(|error| StorageError::Credentials(error.into()))?;
        let (key, secret) = (found.access_key_id(), found.secret_access_key());
        Ok(match found.session_token() {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        })
    }

    /// Repeats a request after transient errors, with growing pauses.
    async fn retrying<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match attempt().await {
                Err(error) if error.is_transient() => {
                    tracing::info!(
                        error = crate::error::chain(&error),
                        "retrying a request to object storage"
                    );
                }
                outcome => return outcome,
            }
            tokio::time::sleep(pause.mul_f64(0.5 + clock::random_fraction())).await;
            pause *= 2;
        }
        attempt().await
    }
}

/// Rejects keys that a URL cannot express: `rusty-s3` would address another object, or the bucket.
fn check_key(key: &str) -> Result<(), StorageError> {
    let is_valid = key.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    if is_valid { Ok(()) } else { Err(StorageError::Key(key.to_owned())) }
}

fn http(operation: &'static str, source: reqwest::Error) -> StorageError {
    // The URL contains the signature and the session token.
    StorageError::Http { operation, source: source.without_url() }
}

/// Returns the response if it is a success.
async fn accepted(
    operation: &'static str,
    outcome: Result<Response, reqwest::Error>,
) -> Result<Response, StorageError> {
    let response = outcome.map_err(|source| http(operation, source))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    // An error without a readable body still has its status.
    let text = xml(operation, response).await.unwrap_or_default();
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map(|(code, _)| code.to_owned()).unwrap_or_default();
    Err(StorageError::Refused { operation, status, code })
}

/// Reads a response that is not an object.
async fn xml(operation: &'static str, mut response: Response) -> Result<String, StorageError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| http(operation, source))? {
        if body.len() + chunk.len() > MAX_XML {
            let reason = format!("more than {MAX_XML} bytes");
            return Err(StorageError::Unreadable { operation, reason });
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|error| StorageError::Unreadable { operation, reason: error.to_string() })
}
