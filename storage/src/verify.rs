//! Checking a whole data folder, for the operator of a server that is not running.

use crate::blob::{Blob, FileBlobs};
use crate::checkpoint;
use crate::files::LocalFiles;
use crate::folder::DataFolder;
use crate::manifest;
use crate::recovery::{MANIFESTS, STATE, Storage, StorageOptions};
use millrace_types::{Result, SqlError, SqlState, Tick};
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something was made good or is superfluous; nothing is lost.
    Warning,
    /// Something is damaged or missing.
    Error,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file or folder it is about; empty when the message names it.
    pub file: String,
    /// What is wrong.
    pub message: String,
}

impl Finding {
    /// A finding that loses nothing.
    pub fn warning(file: &str, message: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, file: file.to_owned(), message: message.into() }
    }

    /// The finding that an error is.
    pub fn error(error: &SqlError) -> Finding {
        Finding { severity: Severity::Error, file: String::new(), message: error.message().to_owned() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}", self.message)
    }
}

/// What is wrong with the data folder at `path`; nothing, for a folder that a server would start on without loss. The
/// folder is opened as a server would open it: a torn tail of the command log is cut, unfinished files are removed.
pub fn verify(path: &Path) -> Vec<Finding> {
    match open_and_check(path) {
        Ok(findings) => findings,
        Err(error) => vec![Finding::error(&error)],
    }
}

fn open_and_check(path: &Path) -> Result<Vec<Finding>> {
    if !path.is_dir() {
        let message = format!("data folder \"{}\" does not exist", path.display());
        return Err(SqlError::new(SqlState::UNDEFINED_FILE, message));
    }
    let (storage, recovered) = Storage::open_folder(DataFolder::open_existing(path)?, StorageOptions::default())?;
    let mut findings = recovered.findings;
    findings.extend(storage.log.read_all(Tick(0), check_payload).err().map(|error| Finding::error(&error)));
    findings.extend(check_checkpoints(&storage)?);
    Ok(findings)
}

fn check_payload(record: crate::Record<'_>) -> Result<()> {
    match record.kind {
        crate::RecordKind::Transaction => crate::batch::decode(record.payload).map(drop),
        crate::RecordKind::Offsets => crate::offsets::decode(record.payload).map(drop),
        crate::RecordKind::Arrivals => crate::arrivals::decode(record.payload).map(drop),
        crate::RecordKind::CatalogChange => crate::recovery::decode_change(record.payload).map(drop),
    }
}

/// Every file of every manifest that can be read; files that none of them names.
fn check_checkpoints(storage: &Storage) -> Result<Vec<Finding>> {
    let blobs = |name: &str| FileBlobs::open(Arc::new(LocalFiles::open(&storage.folder.path().join(name))?));
    let (manifests, state) = (blobs(MANIFESTS)?, blobs(STATE)?);
    let numbers = manifests.list()?;
    let readable = numbers.iter().filter_map(|(name, _)| checkpoint::read(&manifests, manifest::number_of(name)?).ok());
    let (mut findings, mut named) = (Vec::new(), HashSet::new());
    for file in readable.flat_map(|manifest| manifest.state_files) {
        if named.insert(file.name.clone()) {
            findings.extend(storage.checkpoints.load(&file).err().map(|error| Finding::error(&error)));
        }
    }
    for (name, bytes) in state.list()?.iter().filter(|(name, _)| !named.contains(name)) {
        let message = format!("state file \"{}\" of {bytes} bytes belongs to no checkpoint", state.path_of(name));
        findings.push(Finding::warning(&state.path_of(name), message));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_log::Record;
    use crate::{Manifest, RecordKind, batch};
    use arrow::array::{Int64Array, RecordBatch};
    use millrace_types::{Delta, KEY_GROUPS, RelationId};

    fn folder() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let (mut storage, _) = Storage::open(root.path(), StorageOptions::default()).unwrap();
        let rows = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
        let payload = batch::encode(&[(RelationId(1), Delta::inserts(rows.clone()))]).unwrap();
        storage.log.append(&[Record { tick: Tick(1), kind: RecordKind::Transaction, payload: &payload }]).unwrap();
        storage.log.sync().unwrap();
        let owner = (RelationId(1), 0, 0..KEY_GROUPS);
        let file =
            storage.checkpoints.put_file(owner, "one.arrow", &rows.schema(), std::slice::from_ref(&rows)).unwrap();
        let mut manifest = Manifest::new(Tick(1), storage.log.position(), 0, Vec::new());
        manifest.state_files.push(file);
        storage.checkpoints.commit(manifest).unwrap();
        root
    }

    /// The findings after `bytes` of a file were changed.
    fn damaged(file: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let root = folder();
        let path = root.path().join(file);
        let mut bytes = std::fs::read(&path).unwrap_or_default();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        verify(root.path()).iter().map(|finding| finding.to_string() + "\n").collect()
    }

    #[test]
    fn a_whole_folder_has_no_findings() {
        assert_eq!(verify(folder().path()), []);
    }

    #[test]
    fn each_damaged_file_is_named() {
        assert!(damaged("FORMAT", |bytes| bytes[0] ^= 1).contains("FORMAT"));
        assert!(damaged("log/00000000000000000001.seg", |bytes| bytes[3] ^= 1).contains("00000000000000000001.seg"));
        assert!(damaged("manifests/00000000000000000001.manifest", |bytes| bytes[50] ^= 1).contains(".manifest"));
        assert!(damaged("state/one.arrow", |bytes| bytes[50] ^= 1).contains("one.arrow"));
        assert!(damaged("state/two.arrow", |bytes| bytes.push(1)).starts_with("warning: "));
    }

    #[test]
    fn a_missing_folder_is_not_made() {
        let root = tempfile::tempdir().unwrap();
        let absent = root.path().join("absent");
        assert_eq!(verify(&absent).len(), 1);
        assert!(!absent.exists());
    }
}
