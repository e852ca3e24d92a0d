//! Immutable files that are there completely or not at all: state files and manifests.
//!
//! A trait, so that an object store can stand in for the local disk: nothing here is renamed, appended to or changed.

use crate::files::{File, Files};
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

/// A flat store of immutable files.
pub trait Blob: Send + Sync {
    /// Begins a file, which appears under its name, durably, when it is finished; it replaces one of the same name.
    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>>;
    /// All bytes of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Names and lengths of all finished files, sorted by name.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Removes a file.
    fn delete(&self, name: &str) -> io::Result<()>;
    /// How errors name a file of this store.
    fn path_of(&self, name: &str) -> String;
}

/// A file that is being written. Dropped without [`BlobWriter::finish`], it never was.
pub trait BlobWriter: Write + Send {
    /// Makes the file durable under its name.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// What a file is called until it is finished.
const PARTIAL: &str = ".partial";
/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Blobs in a folder.
pub struct FileBlobs {
    files: Arc<dyn Files>,
}

impl FileBlobs {
    /// The blobs of a folder. Files that a crash left unfinished are removed.
    pub fn open(files: Arc<dyn Files>) -> io::Result<FileBlobs> {
        for (name, _) in files.list()? {
            if name.ends_with(PARTIAL) {
                files.remove(&name)?;
            }
        }
        Ok(FileBlobs { files })
    }
}

impl Blob for FileBlobs {
    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>> {
        let file = self.files.create(&partial(name))?;
        let (files, name) = (self.files.clone(), name.to_owned());
        Ok(Box::new(FileBlob { files, file, name, written: 0, buffer: Vec::new(), finished: false }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.files.read(name, usize::MAX)
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = self.files.list()?;
        files.retain(|(name, _)| !name.ends_with(PARTIAL));
        Ok(files)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn path_of(&self, name: &str) -> String {
        self.files.path_of(name)
    }
}

fn partial(name: &str) -> String {
    format!("{name}{PARTIAL}")
}

struct FileBlob {
    files: Arc<dyn Files>,
    file: Box<dyn File>,
    name: String,
    written: u64,
    buffer: Vec<u8>,
    finished: bool,
}

impl Write for FileBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        match bytes.len() < BUFFER_BYTES {
            true => self.buffer.extend_from_slice(bytes),
            // Gathering it would be one more copy.
            false => {
                self.file.write_at(bytes, self.written)?;
                self.written += bytes.len() as u64;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl BlobWriter for FileBlob {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()?;
        self.file.sync()?;
        self.files.rename(&partial(&self.name), &self.name)?;
        self.finished = true;
        self.files.sync()
    }
}

impl Drop for FileBlob {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // What is left behind takes space and nothing else; opening the store again removes it.
        if let Err(error) = self.files.remove(&partial(&self.name))
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(file = self.files.path_of(&self.name), %error, "could not remove an unfinished file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::FaultyFiles;

    fn write(files: &FaultyFiles, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut blob = FileBlobs::open(Arc::new(files.clone()))?.create(name)?;
        blob.write_all(bytes)?;
        blob.finish()
    }

    #[test]
    fn after_a_crash_at_any_step_a_file_is_whole_or_absent() {
        let whole = FaultyFiles::new();
        write(&whole, "a", b"contents").unwrap();
        for crash in 0..=whole.steps() {
            for seed in 0..16 {
                let files = FaultyFiles::new();
                files.crash_after(crash);
                let done = write(&files, "a", b"contents").is_ok();
                let blobs = FileBlobs::open(Arc::new(files.after_crash(seed))).unwrap();
                match blobs.list().unwrap().as_slice() {
                    [] => assert!(!done),
                    [(name, 8)] if name == "a" => assert_eq!(blobs.read("a").unwrap(), b"contents"),
                    other => panic!("{other:?} after a crash at step {crash}"),
                }
            }
        }
    }

    #[test]
    fn a_file_that_does_not_fit_leaves_nothing() {
        let files = FaultyFiles::new();
        files.set_free_bytes(Some(3));
        assert_eq!(write(&files, "a", b"contents").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(files.list().unwrap(), []);
    }
}
