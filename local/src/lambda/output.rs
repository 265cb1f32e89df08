//! Writes the functions' output to one log file each, and collects their metrics.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::metrics::Metrics;

/// The log file of a function.
#[derive(Debug)]
pub(super) struct Output {
    file: Mutex<File>,
    metrics: Arc<Metrics>,
}

impl Output {
    pub(super) fn create(folder: &Path, function: &str, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let file = Mutex::new(File::create(folder.join(format!("{function}.log")))?);
        Ok(Self { file, metrics })
    }

    /// Reads lines until the process closes the stream.
    pub(super) async fn read(&self, stream: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.line(String::from_utf8_lossy(&line).trim_end()),
            }
        }
    }

    fn line(&self, line: &str) {
        if line.starts_with('{')
            && line.contains("\"_aws\"")
            && let Ok(object) = serde_json::from_str::<Value>(line)
        {
            self.metrics.record(&object);
        }
        self.write(line);
    }

    /// Writes a line to the log.
    pub(super) fn write(&self, line: &str) {
        // A failed write must not stop the function, and cannot be reported anywhere.
        let _ = writeln!(self.file.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
    }
}
