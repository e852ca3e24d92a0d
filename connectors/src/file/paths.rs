//! Which files a path or pattern means, and their numbers as splits.

use super::input::file_error;
use crate::source::Split;
use millrace_types::{Result, SqlError, SqlState};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The files of a source: one path, or a pattern whose matches may become more.
#[derive(Debug)]
pub(super) struct Paths {
    path: String,
    /// Whether the pattern is matched again later.
    follow: bool,
    /// The files found so far; the place of a file is its split's id.
    known: Mutex<Vec<String>>,
}

impl Paths {
    /// Whether a path is a pattern. An existing file may have the name of a pattern.
    pub fn is_pattern(path: &str) -> bool {
        path.contains(['*', '?', '[']) && !Path::new(path).exists()
    }

    /// The files that a path or pattern means now. A single file must exist; a pattern must match something, unless
    /// `follow` says that files may come later.
    pub fn new(path: &str, follow: bool) -> Result<Paths> {
        let paths = Paths { path: path.to_owned(), follow, known: Mutex::default() };
        let found = paths.find()?;
        if found.is_empty() && !follow {
            let message = format!("no file matches \"{path}\"");
            return Err(SqlError::new(SqlState::UNDEFINED_FILE, message));
        }
        paths.add(found);
        Ok(paths)
    }

    /// The first file.
    pub fn first(&self) -> Result<PathBuf> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .first()
            .map(PathBuf::from)
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_FILE, format!("no file matches \"{}\"", self.path)))
    }

    /// All files found so far, after another look if the source follows its files.
    pub fn splits(&self) -> Result<Vec<Split>> {
        if self.follow && Paths::is_pattern(&self.path) {
            self.add(self.find()?);
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.iter().enumerate().map(|(id, name)| Split { id: id as u32, name: name.clone() }).collect())
    }

    /// Appends the files that were not known, in sorted order.
    fn add(&self, mut found: Vec<String>) {
        found.sort();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        found.retain(|name| !known.contains(name));
        known.extend(found);
    }

    fn find(&self) -> Result<Vec<String>> {
        if !Paths::is_pattern(&self.path) {
            check_file(Path::new(&self.path))?;
            return Ok(vec![self.path.clone()]);
        }
        let matches = glob::glob(&self.path).map_err(|error| {
            let message = format!("invalid pattern \"{}\": {}", self.path, error.msg);
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
        })?;
        let files = matches.filter_map(|entry| entry.ok()).filter(|path| path.is_file());
        Ok(files.filter_map(|path| path.to_str().map(str::to_owned)).collect())
    }
}

/// Refuses what is not there or is not a file.
fn check_file(path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|error| file_error(path, error))?;
    if metadata.is_dir() {
        let message = format!("\"{}\" is a directory", path.display());
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
            .with_hint("Give a file, or a pattern such as \"directory/*.json\" for all files of a directory."));
    }
    // Whether it may be read is known only by opening it.
    std::fs::File::open(path).map(drop).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => file_error(path, Error::from(ErrorKind::PermissionDenied)),
        _ => file_error(path, error),
    })
}
