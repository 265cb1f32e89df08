//! Object storage: S3, or a server with its protocol.
//!
//! `rusty-s3` builds and signs requests; this module sends them (`common/docs/decisions/0020-object-storage.md`). All
//! requests are idempotent and are retried.

mod client;
mod error;

pub use client::{Download, Endpoint, Listing, Storage, StorageConfig, StoredObject};
pub use error::StorageError;
