//! Folders that lose what was not synced, run full, fail to sync, and crash at any byte: for tests.
//!
//! What a crash leaves follows the words of [`crate::files`]: synced bytes and names are there; of everything else a
//! random part is, and the last of the unsynced writes may be torn. The same seed leaves the same bytes.

use crate::files::{File, Files};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// A faulty folder in memory. Clones are the same folder.
#[derive(Clone, Default)]
pub struct FaultyFiles {
    disk: Arc<Mutex<Disk>>,
    /// What the names of its files begin with on the disk.
    prefix: String,
}

#[derive(Default)]
struct Disk {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    contents: Vec<Content>,
    /// Steps (bytes written, and one for every other change) until the crash.
    steps_left: Option<u64>,
    steps: u64,
    /// Bytes that may still be written before the disk is full.
    free_bytes: Option<u64>,
    syncs_fail: bool,
    /// Told of the crash.
    on_crash: Option<OnCrash>,
}

type OnCrash = (u64, Box<dyn FnOnce(FaultyFiles) + Send>);

#[derive(Clone, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone)]
enum NameChange {
    Create { name: String, content: usize },
    Rename { from: String, to: String, content: usize },
    Remove { name: String },
}

impl FaultyFiles {
    /// An empty folder on a disk without faults.
    pub fn new() -> FaultyFiles {
        FaultyFiles::default()
    }

    /// Another folder of the same disk: its steps, its room and its crash are those of the disk.
    pub fn folder(&self, name: &str) -> FaultyFiles {
        FaultyFiles { disk: self.disk.clone(), prefix: format!("{}{name}/", self.prefix) }
    }

    /// Puts a file there, durably.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.disk.lock();
        let (name, content) = (self.name(name), disk.contents.len());
        disk.contents.push(Content { durable: bytes.clone(), live: bytes, pending: vec![] });
        disk.names.insert(name.clone(), content);
        disk.durable_names.insert(name, content);
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Calls `then` with what [`after_crash`](FaultyFiles::after_crash) gives when the crash comes.
    pub fn on_crash(&self, seed: u64, then: impl FnOnce(FaultyFiles) + Send + 'static) {
        self.disk.lock().on_crash = Some((seed, Box::new(then)));
    }

    /// Crashes after this many more steps: every byte written is one, and every other change of the disk.
    pub fn crash_after(&self, steps: u64) {
        self.disk.lock().steps_left = Some(steps);
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.disk.lock().steps
    }

    /// Lets this many more bytes be written; `None` is no limit.
    pub fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.disk.lock().free_bytes = free_bytes;
    }

    /// Lets every sync fail from now on, or succeed again.
    pub fn set_syncs_fail(&self, fail: bool) {
        self.disk.lock().syncs_fail = fail;
    }

    /// Changes the bytes of a file, durably: damage.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk.lock();
        let index = disk.names[&self.name(name)];
        let content = &mut disk.contents[index];
        change(&mut content.live);
        content.durable = content.live.clone();
        content.pending.clear();
    }

    /// The folder as the machine finds it after losing power now, on a disk without faults.
    pub fn after_crash(&self, seed: u64) -> FaultyFiles {
        FaultyFiles { prefix: self.prefix.clone(), ..self.disk.lock().after_crash(seed) }
    }
}

impl Content {
    fn after_crash(&self, random: &mut Random) -> Content {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            match (random.below(3), change) {
                (0, _) => (),
                (1, Change::Write { offset, bytes: written }) => {
                    let torn = random.below(written.len() as u64 + 1) as usize;
                    Change::Write { offset: *offset, bytes: written[..torn].to_vec() }.apply(&mut bytes);
                }
                _ => change.apply(&mut bytes),
            }
        }
        Content { live: bytes.clone(), durable: bytes, pending: Vec::new() }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*offset..end].copy_from_slice(bytes);
            }
            Change::SetLen(len) => content.resize(*len, 0),
        }
    }
}

impl NameChange {
    fn name(&self) -> &str {
        match self {
            NameChange::Create { name, .. } | NameChange::Rename { from: name, .. } | NameChange::Remove { name } => {
                name
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create { name, content } => drop(names.insert(name.clone(), *content)),
            NameChange::Rename { from, to, content } => {
                names.remove(from);
                names.insert(to.clone(), *content);
            }
            NameChange::Remove { name } => drop(names.remove(name)),
        }
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

impl Disk {
    fn after_crash(&self, seed: u64) -> FaultyFiles {
        let mut random = Random(seed);
        let mut names = self.durable_names.clone();
        let kept = self.pending_names.iter().filter(|_| random.below(2) == 0);
        kept.for_each(|change| change.apply(&mut names));
        let contents: Vec<Content> = self.contents.iter().map(|content| content.after_crash(&mut random)).collect();
        let disk = Disk { durable_names: names.clone(), names, contents, ..Disk::default() };
        FaultyFiles { disk: Arc::new(Mutex::new(disk)), prefix: String::new() }
    }

    /// What whoever wants to go on after the crash is told.
    fn crash(&mut self) -> io::Error {
        if let Some((seed, then)) = self.on_crash.take() {
            then(self.after_crash(seed));
        }
        io::Error::other("the machine has lost power")
    }

    /// Takes up to `steps` steps; how many there were before the crash.
    fn advance(&mut self, steps: u64) -> u64 {
        let taken = self.steps_left.map_or(steps, |left| left.min(steps));
        self.steps += taken;
        self.steps_left = self.steps_left.map(|left| left - taken);
        taken
    }

    fn step(&mut self) -> io::Result<()> {
        match self.advance(1) {
            1 => Ok(()),
            _ => Err(self.crash()),
        }
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        self.step()?;
        change.apply(&mut self.names);
        self.pending_names.push(change);
        Ok(())
    }

    fn change(&mut self, content: usize, change: Change) {
        let content = &mut self.contents[content];
        change.apply(&mut content.live);
        content.pending.push(change);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_step(&mut self) -> io::Result<()> {
        self.step()?;
        match self.syncs_fail {
            true => Err(io::Error::other("input/output error")),
            false => Ok(()),
        }
    }
}

impl Files for FaultyFiles {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.disk.lock();
        let ours = disk.names.iter().filter_map(|(name, &at)| Some((name.strip_prefix(&self.prefix)?, at)));
        Ok(ours.map(|(name, at)| (name.to_owned(), disk.contents[at].live.len() as u64)).collect())
    }

    fn read(&self, name: &str, limit: usize) -> io::Result<Vec<u8>> {
        let disk = self.disk.lock();
        let live = &disk.contents[disk.find(&self.name(name))?].live;
        Ok(live[..live.len().min(limit)].to_vec())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut disk = self.disk.lock();
        let content = match disk.find(&self.name(name)) {
            Ok(content) => {
                disk.step()?;
                disk.change(content, Change::SetLen(0));
                content
            }
            Err(_) => {
                let content = disk.contents.len();
                disk.contents.push(Content::default());
                disk.change_name(NameChange::Create { name: self.name(name), content })?;
                content
            }
        };
        Ok(Box::new(FaultyFile { disk: self.clone(), content }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let content = self.disk.lock().find(&self.name(name))?;
        Ok(Box::new(FaultyFile { disk: self.clone(), content }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let content = disk.find(&self.name(from))?;
        disk.change_name(NameChange::Rename { from: self.name(from), to: self.name(to), content })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.find(&self.name(name))?;
        disk.change_name(NameChange::Remove { name: self.name(name) })
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.sync_step()?;
        let pending = std::mem::take(&mut disk.pending_names);
        let (ours, others) = pending.into_iter().partition(|change| change.name().starts_with(&self.prefix));
        disk.pending_names = others;
        let ours: Vec<_> = ours;
        ours.iter().for_each(|change| change.apply(&mut disk.durable_names));
        Ok(())
    }

    fn path_of(&self, name: &str) -> String {
        self.name(name)
    }
}

struct FaultyFile {
    disk: FaultyFiles,
    content: usize,
}

impl File for FaultyFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.disk.lock();
        let room = disk.free_bytes.map_or(bytes.len() as u64, |free| free.min(bytes.len() as u64));
        let written = disk.advance(room);
        disk.free_bytes = disk.free_bytes.map(|free| free - written);
        disk.change(self.content, Change::Write { offset: offset as usize, bytes: bytes[..written as usize].to_vec() });
        match written {
            _ if written < room => Err(disk.crash()),
            _ if written < bytes.len() as u64 => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.disk.lock();
        disk.step()?;
        disk.change(self.content, Change::SetLen(len as usize));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk.disk.lock();
        disk.sync_step()?;
        let content = &mut disk.contents[self.content];
        content.durable = content.live.clone();
        content.pending.clear();
        Ok(())
    }
}
