//! An S3 server that stores objects as files: `s3s-fs` on a port of the loopback interface.
//!
//! It checks signatures, checksums and bucket names like S3. It has no versions, policies or lifecycle rules.

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running server. Dropping it stops it; the files stay.
#[derive(Debug)]
pub struct S3Server {
    url: String,
    folder: PathBuf,
    task: JoinHandle<()>,
}

impl S3Server {
    /// Starts a server on a free port. Requests must be signed with the given keys.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if the folder cannot be created or no port is free.
    pub async fn start(folder: &Path, access_key: &str, secret_key: &str) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let files = FileSystem::new(folder).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key.to_owned()));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            // A connection that could not be accepted was closed by its client.
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(socket), service.clone());
                tokio::spawn(connection);
            }
        });
        Ok(Self { url, folder: folder.to_owned(), task })
    }

    /// Returns the base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a bucket unless it exists.
    ///
    /// # Errors
    ///
    /// [`io::Error`] if its folder cannot be created.
    pub fn create_bucket(&self, name: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.folder.join(name))
    }

    /// Returns the file of an object.
    #[must_use]
    pub fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.folder.join(bucket).join(key)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
