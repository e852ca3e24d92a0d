//! Writing checkpoints and reading them back.
//!
//! 1. [`Checkpoints::put_file`] writes the state files, in any order and on any thread.
//! 2. [`Checkpoints::commit`] checks the manifest and writes it: from then on the checkpoint is the newest one.
//! 3. The caller truncates the command log before the tick that `commit` returns.
//!
//! The last two checkpoints are kept, and the log that leads on from the older one, so that damage to the newest
//! manifest loses nothing. Files that neither names are deleted. One checkpoint is written at a time.

use crate::blob::Blob;
use crate::catalog_store::CatalogStore;
use crate::compaction::compact;
use crate::kv::KeyValue;
use crate::manifest::{self, Manifest, StateFile, invariants};
use crate::verify::Finding;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use millrace_types::{RelationId, Result, SqlError, SqlState, Tick};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::io::{self, Cursor, Write};
use std::ops::Range;
use std::sync::Arc;

/// How many checkpoints are kept.
pub(crate) const KEPT: usize = 2;
const CURRENT: &[u8] = b"manifest/current";

/// The checkpoints of a data folder.
pub struct Checkpoints {
    state: Arc<dyn Blob>,
    manifests: Arc<dyn Blob>,
    store: Arc<dyn KeyValue>,
    kept: Mutex<Kept>,
    /// Told of each checkpoint that is there.
    watchers: Mutex<Vec<Watcher>>,
}

type Watcher = Box<dyn Fn() + Send>;

struct Kept {
    /// At most [`KEPT`], oldest first.
    manifests: Vec<Manifest>,
    /// Those that are being copied: their files stay.
    copied: Vec<Manifest>,
    /// The highest number that was ever used, also by a manifest that cannot be read.
    number: u64,
}

impl Checkpoints {
    /// Finds the checkpoints. Where the newest manifest cannot be read, the one before it takes its place, and the
    /// findings say so.
    ///
    /// # Errors
    /// `XX001` when there were checkpoints and none can be read.
    pub fn open(
        state: Arc<dyn Blob>,
        manifests: Arc<dyn Blob>,
        store: Arc<dyn KeyValue>,
    ) -> Result<(Checkpoints, Vec<Finding>)> {
        let current = store.get(CURRENT)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        let numbers: Vec<u64> = manifests.list()?.iter().filter_map(|(name, _)| manifest::number_of(name)).collect();
        let (mut kept, mut findings) = (Vec::new(), Vec::new());
        for &number in numbers.iter().rev() {
            match read(&*manifests, number) {
                Ok(manifest) => kept.push(manifest),
                Err(error) if error.state() == SqlState::DATA_CORRUPTED => findings.push(Finding::error(&error)),
                Err(error) => return Err(error),
            }
        }
        let newest = numbers.last().copied().unwrap_or(0);
        if newest < current {
            findings.push(Finding::error(&missing(&*manifests, current)));
        }
        let number = newest.max(current);
        if kept.is_empty() && number > 0 {
            return Err(missing(&*manifests, number).with_detail("No other checkpoint can be read either."));
        }
        kept.truncate(KEPT);
        kept.reverse();
        let kept = Mutex::new(Kept { manifests: kept, copied: vec![], number });
        Ok((Checkpoints { state, manifests, store, kept, watchers: Mutex::default() }, findings))
    }

    /// Calls `then`, which must not take long, after each checkpoint from now on.
    pub fn watch(&self, then: impl Fn() + Send + 'static) {
        self.watchers.lock().push(Box::new(then));
    }

    /// The number of the newest checkpoint.
    pub fn newest_number(&self) -> Option<u64> {
        self.kept.lock().manifests.last().map(|manifest| manifest.number)
    }

    /// The newest checkpoint.
    pub fn latest(&self) -> Option<Manifest> {
        self.kept.lock().manifests.last().cloned()
    }

    /// Writes a part of a relation's state as an Arrow IPC file. The result goes into the manifest. `name` is the name
    /// of a file without folders; a file that a kept checkpoint names is not written again.
    ///
    /// # Errors
    /// `53100` when the disk is full; what was written is removed.
    pub fn put_file(
        &self,
        owner: (RelationId, u32, Range<u32>),
        name: &str,
        schema: &Schema,
        batches: &[RecordBatch],
    ) -> Result<StateFile> {
        self.put_batches(owner, name, schema, batches.iter().cloned().map(Ok))
    }

    /// As [`Checkpoints::put_file`], of batches that need not be in memory together.
    ///
    /// # Errors
    /// As [`Checkpoints::put_file`], or that of a batch.
    pub fn put_batches(
        &self,
        owner: (RelationId, u32, Range<u32>),
        name: &str,
        schema: &Schema,
        batches: impl IntoIterator<Item = Result<RecordBatch>>,
    ) -> Result<StateFile> {
        let mut file = self.begin_file(owner, name, schema)?;
        batches.into_iter().try_for_each(|batch| file.write(&batch?))?;
        file.finish()
    }

    /// Begins what [`Checkpoints::put_file`] does at once.
    ///
    /// # Errors
    /// As [`Checkpoints::put_file`].
    pub(crate) fn begin_file(
        &self,
        owner: (RelationId, u32, Range<u32>),
        name: &str,
        schema: &Schema,
    ) -> Result<OpenFile<'_>> {
        self.check_name(name)?;
        let blob = self.state.create(name).map_err(|error| self.failure("write", name, error.into()))?;
        let writer = FileWriter::try_new(Checked { inner: blob, bytes: 0, crc32c: 0 }, schema)?;
        Ok(OpenFile { checkpoints: self, writer, owner, name: name.to_owned() })
    }

    fn check_name(&self, name: &str) -> Result<()> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') || name.ends_with(".partial") {
            return Err(SqlError::internal(format!("state file name \"{name}\" is not one")));
        }
        let kept = self.kept.lock();
        let named = kept.manifests.iter().flat_map(|m| &m.state_files).any(|file| file.name == name);
        match named {
            false => Ok(()),
            true => Err(SqlError::internal(format!("state file \"{name}\" belongs to an earlier checkpoint"))),
        }
    }

    /// The batches of a state file.
    ///
    /// # Errors
    /// `XX001` naming the file when it is missing or damaged.
    pub fn load(&self, file: &StateFile) -> Result<Vec<RecordBatch>> {
        let damaged = |error: arrow::error::ArrowError| self.damaged(file, &error.to_string());
        let reader = FileReader::try_new(Cursor::new(self.bytes_of(file)?), None).map_err(damaged)?;
        reader.collect::<Result<_, _>>().map_err(damaged)
    }

    /// The bytes of a state file, checked.
    pub(crate) fn bytes_of(&self, file: &StateFile) -> Result<Vec<u8>> {
        let bytes = match self.state.read(&file.name) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.damaged(file, "it is missing")),
            Err(error) => return Err(self.failure("read", &file.name, error.into())),
        };
        match bytes.len() as u64 == file.bytes && crc32c::crc32c(&bytes) == file.crc32c {
            true => Ok(bytes),
            false => Err(self.damaged(file, "its checksum is wrong")),
        }
    }

    fn damaged(&self, file: &StateFile, why: &str) -> SqlError {
        let message = format!("state file \"{}\" is damaged: {why}", self.state.path_of(&file.name));
        SqlError::new(SqlState::DATA_CORRUPTED, message).with_hint("Restore the data folder from a backup.")
    }

    /// Hands the newest checkpoint to `then`, and keeps its files for as long as that takes. Others may be written
    /// meanwhile.
    ///
    /// # Errors
    /// `55000` when there is no checkpoint, and those of `then`.
    pub fn with_newest<T>(&self, then: impl FnOnce(&Manifest) -> Result<T>) -> Result<T> {
        let newest = {
            let mut kept = self.kept.lock();
            let newest = kept.manifests.last().cloned().ok_or_else(|| {
                SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "there is no checkpoint to be copied")
            })?;
            kept.copied.push(newest.clone());
            newest
        };
        let done = then(&newest);
        let mut kept = self.kept.lock();
        if let Some(at) = kept.copied.iter().position(|manifest| manifest.number == newest.number) {
            kept.copied.remove(at);
        }
        done
    }

    /// Copies a kept checkpoint to where none is yet, as the first one there, without the log that leads on from it.
    ///
    /// # Errors
    /// `XX001` when a file of it is damaged, `53100` when the disk is full.
    pub fn copy(&self, manifest: &Manifest, state: &dyn Blob, manifests: &dyn Blob) -> Result<()> {
        manifest.state_files.iter().try_for_each(|file| write(state, &file.name, &self.bytes_of(file)?))?;
        let first = Manifest { number: 1, log_segment: 0, ..manifest.clone() };
        write(manifests, &manifest::file_name(1), &first.encode()?)
    }

    /// The checkpoints that are kept, the newest first.
    pub fn newest_first(&self) -> Vec<Manifest> {
        self.kept.lock().manifests.iter().rev().cloned().collect()
    }

    /// Makes `manifest` the newest checkpoint, numbering it, and deletes what is older than the one before it. Returns
    /// the tick before which the command log is no longer needed.
    ///
    /// # Errors
    /// `XX000` when the manifest breaks an invariant, `53100` when the disk is full: then the newest checkpoint is what
    /// it was.
    pub fn commit(&self, mut manifest: Manifest) -> Result<Tick> {
        let mut kept = self.kept.lock();
        manifest.number = kept.number + 1;
        invariants::check(kept.manifests.last(), &manifest)?;
        if let Some(name) = invariants::missing_files(&manifest, &*self.state)?.first() {
            return Err(SqlError::internal(format!("checkpoint names file \"{name}\", which was not written")));
        }
        // Used up even if the write fails: nobody knows how much of it is there.
        kept.number = manifest.number;
        self.write(&manifest)?;
        self.point_to(&manifest);
        kept.manifests.push(manifest);
        let superfluous = kept.manifests.len().saturating_sub(KEPT);
        kept.manifests.drain(..superfluous);
        self.collect_garbage(&kept);
        self.watchers.lock().iter().for_each(|then| then());
        Ok(kept.manifests[0].tick.next())
    }

    fn write(&self, manifest: &Manifest) -> Result<()> {
        write(&*self.manifests, &manifest::file_name(manifest.number), &manifest.encode()?)
    }

    /// Tells the store. The manifest is what counts: without this, it is found by its number.
    fn point_to(&self, manifest: &Manifest) {
        let catalog = CatalogStore::new(self.store.clone());
        let told = self
            .store
            .put(CURRENT, &manifest.number.to_be_bytes())
            .and_then(|()| catalog.put_snapshot(manifest.catalog_version, &manifest.catalog));
        if let Err(error) = told {
            tracing::warn!(%error, "the catalog store is behind the newest checkpoint");
        }
    }

    /// Deletes manifests older than the kept ones, and state files that no kept one names.
    fn collect_garbage(&self, Kept { manifests, copied, .. }: &Kept) {
        let oldest = manifests.first().map_or(0, |manifest| manifest.number);
        let needed = manifests.iter().chain(copied).flat_map(|manifest| &manifest.state_files);
        let named: HashSet<&str> = needed.map(|file| file.name.as_str()).collect();
        delete(&*self.manifests, |name| manifest::number_of(name).is_some_and(|number| number < oldest));
        delete(&*self.state, |name| !named.contains(name));
    }

    fn failure(&self, what: &str, name: &str, error: SqlError) -> SqlError {
        let message = format!("could not {what} state file \"{}\": {error}", self.state.path_of(name));
        SqlError::new(error.state(), message)
    }
}

/// A state file that is being written. Dropped before it is finished, it never was.
pub(crate) struct OpenFile<'a> {
    checkpoints: &'a Checkpoints,
    writer: FileWriter<Checked>,
    owner: (RelationId, u32, Range<u32>),
    name: String,
}

impl OpenFile<'_> {
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let written = self.writer.write(&compact(batch)?);
        written.map_err(|error| self.checkpoints.failure("write", &self.name, io_or_arrow(error)))
    }

    /// Makes it durable.
    pub fn finish(self) -> Result<StateFile> {
        let OpenFile { checkpoints, writer, owner: (relation, part, key_groups), name } = self;
        let failed = |error: SqlError| checkpoints.failure("write", &name, error);
        let checked = writer.into_inner().map_err(|error| failed(io_or_arrow(error)))?;
        let (bytes, crc32c) = (checked.bytes, checked.crc32c);
        checked.inner.finish().map_err(|error| failed(error.into()))?;
        Ok(StateFile { relation, part, key_groups, name, bytes, crc32c })
    }
}

/// Writes a whole file.
fn write(to: &dyn Blob, name: &str, bytes: &[u8]) -> Result<()> {
    let written = to.create(name).and_then(|mut blob| {
        blob.write_all(bytes)?;
        blob.finish()
    });
    written.map_err(|error| {
        let message = format!("could not write file \"{}\": {error}", to.path_of(name));
        SqlError::new(SqlError::from(error).state(), message)
    })
}

/// The manifest with this number.
pub(crate) fn read(manifests: &dyn Blob, number: u64) -> Result<Manifest> {
    let name = manifest::file_name(number);
    let named = |error: SqlError| {
        let message = format!("checkpoint manifest \"{}\" {error}", manifests.path_of(&name));
        SqlError::new(error.state(), message)
    };
    let manifest = Manifest::decode(&manifests.read(&name)?).map_err(named)?;
    match manifest.number == number {
        true => Ok(manifest),
        false => Err(named(SqlError::new(SqlState::DATA_CORRUPTED, "is damaged: it has another number"))),
    }
}

fn missing(manifests: &dyn Blob, number: u64) -> SqlError {
    let name = manifests.path_of(&manifest::file_name(number));
    SqlError::new(SqlState::DATA_CORRUPTED, format!("checkpoint manifest \"{name}\" is missing or damaged"))
        .with_hint("Restore the data folder from a backup.")
}

/// Deletes the blobs whose name `is_garbage` knows. What stays takes space until the next time.
fn delete(blobs: &dyn Blob, is_garbage: impl Fn(&str) -> bool) {
    let deleted = blobs.list().and_then(|files| {
        let garbage = files.iter().map(|(name, _)| name).filter(|name| is_garbage(name));
        garbage.into_iter().try_for_each(|name| blobs.delete(name))
    });
    if let Err(error) = deleted {
        tracing::warn!(%error, "could not delete files that no checkpoint needs");
    }
}

fn io_or_arrow(error: arrow::error::ArrowError) -> SqlError {
    match error {
        arrow::error::ArrowError::IoError(_, error) => error.into(),
        other => other.into(),
    }
}

/// Counts and sums up what passes through.
struct Checked {
    inner: Box<dyn crate::blob::BlobWriter>,
    bytes: u64,
    crc32c: u32,
}

impl Write for Checked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
