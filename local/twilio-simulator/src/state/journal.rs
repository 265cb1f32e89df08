//! The journal: a file with one change per line that restores the store after a restart.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::state::change::Change;

/// An open journal. A separate thread writes it, so that no request waits for the disk.
pub(crate) struct Journal {
    lines: Sender<Vec<u8>>,
    writer: JoinHandle<()>,
}

impl Journal {
    /// Reads the changes in `path`; empty without the file. An incomplete last line (a crash during a write) is
    /// skipped.
    ///
    /// # Errors
    /// When the file cannot be read, or any line except the last is invalid.
    pub(crate) fn read(path: &Path) -> io::Result<Vec<Change>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        let mut lines = BufReader::new(file).split(b'\n').peekable();
        let mut changes = Vec::new();
        while let Some(line) = lines.next() {
            match serde_json::from_slice(&line?) {
                Ok(change) => changes.push(change),
                Err(_) if lines.peek().is_none() => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        Ok(changes)
    }

    /// Replaces the content of the file with `changes` and opens it for appending.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn open(path: &Path, changes: &[Change]) -> io::Result<Self> {
        let fresh = PathBuf::from(format!("{}.new", path.display()));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = BufWriter::new(File::create(&fresh)?);
        for change in changes {
            file.write_all(&line(change))?;
        }
        file.flush()?;
        fs::rename(&fresh, path)?;
        let (lines, queue) = channel();
        let writer =
            thread::Builder::new().name("journal".to_owned()).spawn(move || write_all(file, &queue))?;
        Ok(Self { lines, writer })
    }

    /// Queues one change for writing. The order of calls is kept.
    pub(crate) fn append(&self, change: &Change) {
        // The send fails only after a write error, which the writer has logged.
        let _ = self.lines.send(line(change));
    }

    /// Waits until all queued changes are written.
    pub(crate) fn close(self) {
        drop(self.lines);
        if self.writer.join().is_err() {
            tracing::error!("journal writer panicked");
        }
    }
}

fn line(change: &Change) -> Vec<u8> {
    let mut line = serde_json::to_vec(change).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Writes queued lines and flushes when the queue is empty.
fn write_all(mut file: BufWriter<File>, queue: &Receiver<Vec<u8>>) {
    let mut write = || -> io::Result<()> {
        while let Ok(line) = queue.recv() {
            file.write_all(&line)?;
            while let Ok(line) = queue.try_recv() {
                file.write_all(&line)?;
            }
            file.flush()?;
        }
        Ok(())
    };
    if let Err(error) = write() {
        tracing::error!(error = &error as &dyn std::error::Error, "journal write failed");
    }
}
