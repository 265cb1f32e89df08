//! The file that carries the simulator's memory over a restart: one change a line.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::store::Change;

/// An open journal. A thread of its own writes, so that no request waits for a disk.
pub(super) struct Journal {
    lines: Sender<Vec<u8>>,
    writer: JoinHandle<()>,
}

impl Journal {
    /// The changes that `path` holds; none when there is no such file. A last line that was cut off is left out.
    ///
    /// # Errors
    /// When the file cannot be read, or another line than the last is not a change.
    pub(super) fn read(path: &Path) -> io::Result<Vec<Change>> {
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

    /// Replaces the file by `changes` and appends what follows.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn open(path: &Path, changes: &[Change]) -> io::Result<Self> {
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

    /// Queues one change; the order is kept.
    pub(super) fn append(&self, change: &Change) {
        // The writer ends only when this sender is gone, or the disk failed, which it has said.
        let _ = self.lines.send(line(change));
    }

    /// Waits until everything is written.
    pub(super) fn close(self) {
        drop(self.lines);
        if self.writer.join().is_err() {
            tracing::error!("the journal's writer panicked");
        }
    }
}

fn line(change: &Change) -> Vec<u8> {
    let mut line = serde_json::to_vec(change).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Writes lines as they come and flushes whenever there is a pause.
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
        tracing::error!(error = &error as &dyn std::error::Error, "the journal cannot be written any more");
    }
}
