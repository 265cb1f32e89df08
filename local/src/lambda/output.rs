//! What functions print: filed, shown with the function's name, and its metrics gathered.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::metrics::Metrics;

/// One function's log.
#[derive(Debug)]
pub(super) struct Output {
    function: String,
    file: Mutex<File>,
    metrics: Arc<Metrics>,
    echo: bool,
}

impl Output {
    pub(super) fn create(
        folder: &Path,
        function: &str,
        metrics: Arc<Metrics>,
        echo: bool,
    ) -> std::io::Result<Self> {
        let file = Mutex::new(File::create(folder.join(format!("{function}.log")))?);
        Ok(Self { function: function.to_owned(), file, metrics, echo })
    }

    /// Takes lines until the process closes its end.
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

    /// Writes a line of the stack's own about the function.
    pub(super) fn note(&self, text: &str) {
        self.write(text, self.echo);
    }

    fn line(&self, line: &str) {
        let is_metric = line.starts_with('{')
            && line.contains("\"_aws\"")
            && serde_json::from_str::<Value>(line).is_ok_and(|object| self.metrics.record(&object));
        // A log line may carry metrics as well.
        let is_shown = !is_metric || line.contains("\"level\"");
        self.write(line, self.echo && is_shown);
    }

    fn write(&self, line: &str, shown: bool) {
        // A log that cannot be written must not stop the function: there is nowhere to say so either.
        let _ = writeln!(self.file.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
        if shown {
            let _ = writeln!(std::io::stdout(), "[{}] {line}", self.function);
        }
    }
}
