//! The data folder: who may use it, and which version of the formats it holds.
//!
//! `LOCK` is locked for as long as a server uses the folder and tells its process id; `FORMAT` says what the folder is.
//! The operating system gives the lock back when a process dies, however it dies.

use crate::files::sync_folder;
use millrace_types::{Result, SqlError, SqlState};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The version of the folder's formats that this program writes, and the newest one it reads.
pub const FORMAT_VERSION: u32 = 1;

const LOCK: &str = "LOCK";
pub(crate) const FORMAT: &str = "FORMAT";
const IDENTITY: &str = "IDENTITY";
/// What a file is called until it is whole.
const PARTIAL: &str = ".partial";
/// The first line of `FORMAT`.
const MAGIC: &str = "millrace data folder";

/// A data folder that this process alone uses until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Held, not read: closing it gives the lock back.
    _lock: File,
}

impl DataFolder {
    /// Opens the folder at `path`, creating it (with mode 0700) when there is none.
    ///
    /// # Errors
    /// `55006` when another process uses it; `42501` when it may not be written; `F0000` when the path is something
    /// else than a data folder, or one of a newer version.
    pub fn open(path: &Path) -> Result<DataFolder> {
        create(path)?;
        DataFolder::open_existing(path)
    }

    /// As [`DataFolder::open`], for a folder that must exist already.
    pub fn open_existing(path: &Path) -> Result<DataFolder> {
        let lock = lock(path)?;
        crate::switch::finish(path).map_err(|e| cannot(path, "restore", e))?;
        match fs::read_to_string(path.join(FORMAT)) {
            Ok(text) => check_format(&path.display().to_string(), &text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                refuse_foreign(path)?;
                write_whole(path, FORMAT, &format_text()).map_err(|e| cannot(path, "initialize", e))?;
            }
            Err(error) => return Err(cannot(path, "read the format of", error)),
        }
        Ok(DataFolder { path: path.to_owned(), _lock: lock })
    }

    /// Makes a folder at `path`, where nothing may be yet, of what `fill` writes into it. Until that is through it is no
    /// data folder, and is refused as one.
    ///
    /// # Errors
    /// Those of [`DataFolder::open`] and of `fill`; `42P07` when there is something in it.
    pub fn make<T>(path: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            let message = format!("folder \"{}\" is not empty", path.display());
            return Err(SqlError::new(SqlState::DUPLICATE_TABLE, message)
                .with_hint("Restore into a new folder, then start the server with --data-dir."));
        }
        create(path)?;
        let _lock = lock(path)?;
        let filled = fill(path).inspect_err(|_| empty(path))?;
        write_whole(path, FORMAT, &format_text()).map_err(|e| cannot(path, "initialize", e))?;
        Ok(filled)
    }

    /// Which database this is: a name that a copy made by hand shares, and nothing else. It is made when it is first
    /// asked for.
    ///
    /// # Errors
    /// `58030` and `42501` when it cannot be read or written.
    pub fn identity(&self) -> Result<String> {
        match fs::read_to_string(self.path.join(IDENTITY)) {
            Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(cannot(&self.path, "read the identity of", error)),
            _ => {
                let identity = uuid::Uuid::new_v4().to_string();
                write_identity(&self.path, &identity)?;
                Ok(identity)
            }
        }
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The error of an operation on the folder, worded by what the operator of the server can do about it.
fn cannot(path: &Path, what: &str, error: io::Error) -> SqlError {
    let message = format!("could not {what} data folder \"{}\": {error}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .with_hint("Give the server's user write permission on the folder, or choose another folder.")
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => SqlError::new(SqlState::CONFIG_FILE_ERROR, message)
            .with_hint("Choose a path that is a folder or does not exist yet."),
        _ => SqlError::new(SqlError::from(error).state(), message),
    }
}

fn create(path: &Path) -> Result<()> {
    // The kind tells a file in the folder's place from a missing folder; an existing folder keeps its mode.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => return Err(cannot(path, "open", ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => (),
        Err(error) => return Err(cannot(path, "open", error)),
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| cannot(path, "create", e))?;
    match path.parent() {
        Some(parent) if parent != Path::new("") => sync_folder(parent).map_err(|e| cannot(path, "create", e)),
        _ => Ok(()),
    }
}

fn lock(path: &Path) -> Result<File> {
    let options = || File::options().read(true).write(true).create(true).truncate(false).open(path.join(LOCK));
    let mut file = options().map_err(|e| cannot(path, "lock", e))?;
    match file.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => return Err(in_use(path, &mut file)),
        Err(TryLockError::Error(error)) => return Err(cannot(path, "lock", error)),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(|e| cannot(path, "lock", e))?;
    Ok(file)
}

fn in_use(path: &Path, lock: &mut File) -> SqlError {
    // The owner may be between locking and writing: then the id is not there yet.
    let mut owner = String::new();
    let _ = lock.read_to_string(&mut owner);
    let owner = match owner.trim() {
        "" => "another process".to_owned(),
        id => format!("process {id}"),
    };
    SqlError::new(SqlState::OBJECT_IN_USE, format!("data folder \"{}\" is in use by {owner}", path.display()))
        .with_hint("Stop that server first, or start this one with another data folder.")
}

/// Whether what stands in `FORMAT` is a format of ours. `folder` is what the message calls the folder.
pub(crate) fn check_format(folder: &str, text: &str) -> Result<()> {
    let (magic, rest) = text.split_once('\n').unwrap_or((text, ""));
    let version = rest.trim().strip_prefix("version ").and_then(|v| v.parse::<u32>().ok());
    match version {
        Some(FORMAT_VERSION) if magic == MAGIC => Ok(()),
        Some(newer) if magic == MAGIC && newer > FORMAT_VERSION => Err(SqlError::new(
            SqlState::CONFIG_FILE_ERROR,
            format!("data folder \"{folder}\" has format version {newer}, newer than this server's"),
        )
        .with_detail(format!("This server reads format version {FORMAT_VERSION}."))
        .with_hint("Start the newer server that wrote the folder.")),
        _ => {
            let message = format!("file \"{folder}/{FORMAT}\" is damaged");
            Err(SqlError::new(SqlState::DATA_CORRUPTED, message).with_hint("Restore the folder from a backup."))
        }
    }
}

/// Refuses a folder that holds something, but no `FORMAT`: rather a mistyped path than a data folder.
fn refuse_foreign(path: &Path) -> Result<()> {
    let entries = fs::read_dir(path).map_err(|e| cannot(path, "read", e))?;
    for entry in entries {
        let name = entry.map_err(|e| cannot(path, "read", e))?.file_name();
        // `lost+found` stands in the root of every new file system.
        if !["LOCK", "FORMAT.partial", "lost+found"].iter().any(|ours| name == *ours) {
            let message = format!("folder \"{}\" is not empty and is not a data folder", path.display());
            return Err(SqlError::new(SqlState::CONFIG_FILE_ERROR, message)
                .with_detail(format!("It holds \"{}\" and no \"{FORMAT}\".", name.display()))
                .with_hint("Choose an empty folder, or the folder of an existing server."));
        }
    }
    Ok(())
}

/// Removes what a folder holds; what stays is in the way of nobody but the next attempt.
fn empty(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let _ = if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
    }
}

/// What stands in `FORMAT`.
pub(crate) fn format_text() -> String {
    format!("{MAGIC}\nversion {FORMAT_VERSION}\n")
}

/// Makes a folder the database of this identity.
pub(crate) fn write_identity(path: &Path, identity: &str) -> Result<()> {
    write_whole(path, IDENTITY, &format!("{identity}\n")).map_err(|e| cannot(path, "write the identity of", e))
}

/// Writes a small file, durably, completely or not at all.
pub(crate) fn write_whole(path: &Path, name: &str, text: &str) -> io::Result<()> {
    let partial = path.join(format!("{name}{PARTIAL}"));
    let mut file = File::create(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path.join(name))?;
    sync_folder(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn refusal(path: &Path) -> SqlError {
        DataFolder::open(path).expect_err("the folder must be refused")
    }

    #[test]
    fn a_new_folder_is_private_and_opens_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        drop(DataFolder::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn a_second_opener_is_told_who_has_it() {
        let root = tempfile::tempdir().unwrap();
        let first = DataFolder::open(root.path()).unwrap();
        let error = refusal(root.path());
        assert_eq!(error.state(), SqlState::OBJECT_IN_USE);
        assert!(error.message().contains(&format!("in use by process {}", std::process::id())));
        assert!(error.message().contains(root.path().to_str().unwrap()));
        drop(first);
        DataFolder::open(root.path()).unwrap();
    }

    #[test]
    fn what_is_not_a_data_folder_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert_eq!(refusal(&file).state(), SqlState::CONFIG_FILE_ERROR);
        assert_eq!(refusal(&file.join("below")).state(), SqlState::CONFIG_FILE_ERROR);
        assert_eq!(refusal(root.path()).detail(), Some("It holds \"file\" and no \"FORMAT\"."));
    }

    #[test]
    fn a_newer_or_damaged_format_is_refused() {
        let root = tempfile::tempdir().unwrap();
        drop(DataFolder::open(root.path()).unwrap());
        fs::write(root.path().join(FORMAT), format!("{MAGIC}\nversion 2\n")).unwrap();
        assert!(refusal(root.path()).message().contains("has format version 2"));
        fs::write(root.path().join(FORMAT), "millrace data folder\nversion 1x").unwrap();
        assert_eq!(refusal(root.path()).state(), SqlState::DATA_CORRUPTED);
    }

    #[test]
    fn a_folder_that_cannot_be_written_says_what_to_do() {
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
            let error = cannot(Path::new("/d"), "lock", kind.into());
            assert_eq!(error.state(), SqlState::INSUFFICIENT_PRIVILEGE);
            assert!(error.hint().unwrap().contains("write permission"));
        }
    }
}
