//! One flat folder of files, as a trait: the local disk, or a faulty stand-in for tests.
//!
//! The trait says what a crash leaves. Bytes are durable after [`File::sync`] of their file; a name (created, renamed,
//! removed) is durable after [`Files::sync`] of the folder. Anything else may be lost, in any order, or half there.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A flat folder of files.
pub trait Files: Send + Sync {
    /// Names and lengths in bytes of all files, sorted by name.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// The first `limit` bytes of a file, or all of it when it is shorter.
    fn read(&self, name: &str, limit: usize) -> io::Result<Vec<u8>>;
    /// A new file, or an existing one made empty.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// An existing file, for writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Gives a file another name, replacing any file of that name at once.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync(&self) -> io::Result<()>;
    /// How errors name a file of this folder.
    fn path_of(&self, name: &str) -> String;
}

/// A file open for writing.
pub trait File: Send {
    /// Writes all of `bytes` at `offset`. On an error, any part of them may have been written.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or extends (with zeros) the file.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Makes the contents and the length durable. After an error nothing is known about what is durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder of the local file system.
pub struct LocalFiles {
    folder: PathBuf,
}

impl LocalFiles {
    /// The folder at `folder`, created if it is missing; its parent exists.
    pub fn open(folder: &Path) -> io::Result<LocalFiles> {
        match std::fs::create_dir(folder) {
            Ok(()) => sync_folder(folder.parent().unwrap_or(folder))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error),
        }
        Ok(LocalFiles { folder: folder.to_owned() })
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

impl Files for LocalFiles {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // A name that is not UTF-8 is none of ours.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((name, metadata.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn read(&self, name: &str, limit: usize) -> io::Result<Vec<u8>> {
        let file = std::fs::File::open(self.folder.join(name))?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(len.min(limit));
        file.take(limit as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(std::fs::File::create(self.folder.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(std::fs::File::options().read(true).write(true).open(self.folder.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_folder(&self.folder)
    }

    fn path_of(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl File for std::fs::File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        std::fs::File::set_len(self, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        // fdatasync: it writes the length too, and leaves out only times that nobody reads.
        self.sync_data()
    }
}
