//! What the contents of a data folder stand on: the local disk, or a simulated one.

use crate::files::{Files, LocalFiles};
use crate::kv::{KeyValue, SledStore};
use crate::verify::Finding;
use millrace_types::{Result, SqlError, SqlState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of the key-value store, inside a data folder.
pub(crate) const CATALOG: &str = "catalog";

/// The parts of a data folder that must survive a crash.
pub trait Disk: Send + Sync {
    /// The files of one of the folders inside the data folder, made if it is missing.
    fn files(&self, name: &str) -> Result<Arc<dyn Files>>;
    /// The key-value store; `findings` hears of damage that was made good.
    fn store(&self, findings: &mut Vec<Finding>) -> Result<Arc<dyn KeyValue>>;
}

/// A data folder of the local file system.
pub struct LocalDisk {
    folder: PathBuf,
}

impl LocalDisk {
    /// The data folder at `folder`, which is there.
    pub fn new(folder: &Path) -> LocalDisk {
        LocalDisk { folder: folder.to_owned() }
    }
}

impl Disk for LocalDisk {
    fn files(&self, name: &str) -> Result<Arc<dyn Files>> {
        let path = self.folder.join(name);
        let unreadable = |error: std::io::Error| {
            let message = format!("could not open folder \"{}\": {error}", path.display());
            SqlError::new(SqlError::from(error).state(), message)
        };
        Ok(Arc::new(LocalFiles::open(&path).map_err(unreadable)?))
    }

    /// A store that is damaged is moved aside, never deleted.
    fn store(&self, findings: &mut Vec<Finding>) -> Result<Arc<dyn KeyValue>> {
        let path = self.folder.join(CATALOG);
        match SledStore::open(&path) {
            Err(error) if error.state() == SqlState::DATA_CORRUPTED => {
                let aside = aside(&self.folder);
                std::fs::rename(&path, &aside)?;
                crate::files::sync_folder(&self.folder)?;
                findings.push(Finding::warning(
                    &path.display().to_string(),
                    format!("{}; it was moved to \"{}\" and is rebuilt", error.message(), aside.display()),
                ));
                Ok(Arc::new(SledStore::open(&path)?))
            }
            opened => Ok(Arc::new(opened?)),
        }
    }
}

fn aside(folder: &Path) -> PathBuf {
    let names = (1u64..).map(|n| folder.join(format!("{CATALOG}.broken-{n}")));
    // There is a free number among all of them.
    names.into_iter().find(|path| !path.exists()).unwrap_or_else(|| folder.join("catalog.broken"))
}
