//! An S3 server with one bucket, for tests.

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use common::storage::{Endpoint, Storage, StorageConfig};
use s3_server::S3Server;
use std::path::PathBuf;
use tempfile::TempDir;

/// The bucket.
const BUCKET: &str = "archive";

/// An S3 server with an empty bucket. Its files are deleted when this value is dropped.
#[derive(Debug)]
pub struct S3 {
    server: S3Server,
    _folder: TempDir,
}

impl S3 {
    /// Starts the server. It accepts the credentials of [`super::Function`].
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = S3Server::start(folder.path(), "test", "test").await.unwrap();
        server.create_bucket(BUCKET).unwrap();
        Self { server, _folder: folder }
    }

    /// Returns the value of `AWS_ENDPOINT_URL_S3`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Returns the name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// Returns a client of the bucket.
    ///
    /// # Panics
    ///
    /// If it cannot be created.
    #[must_use]
    pub fn storage(&self) -> Storage {
        let endpoint = Endpoint {
            url: self.url().parse().unwrap(),
            region: "us-east-1".to_owned(),
            has_bucket_in_host: false,
        };
        let keys = SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test"));
        Storage::at(&endpoint, &StorageConfig::for_bucket(BUCKET), keys).unwrap()
    }

    /// Returns the file of an object, which a test may read, change or delete.
    #[must_use]
    pub fn file(&self, key: &str) -> PathBuf {
        self.server.file(BUCKET, key)
    }
}
