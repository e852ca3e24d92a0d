//! One life of the server, in a process of its own: it ends when its statements are done, or when the power goes.

use crate::check::check;
use crate::history::POWER_LOST;
use crate::model::{Left, Model};
use crate::outside::Outside;
use crate::statements::{SCHEMA, Sessions};
use anyhow::{Context, Result};
use millrace_server::{Config, Database, Door};
use millrace_storage::Files;
use millrace_storage::faulty::FaultyFiles;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Bytes written until the power goes, at most; a life without much writing ends without.
const LONGEST: u64 = 60_000;
/// The same for a life that ends while it starts.
const SHORT: u64 = 3_000;

/// Which life.
#[derive(Clone, Debug)]
pub struct Life {
    /// What all lives of a seed share.
    pub folder: PathBuf,
    pub seed: u64,
    /// From 0 on.
    pub number: u64,
    /// Statements, if the power does not go before.
    pub statements: u64,
    /// Whether there are sources and sinks.
    pub outside: bool,
}

/// What the process knows when the power goes.
pub(crate) struct Knowledge {
    left: Mutex<Left>,
    folder: PathBuf,
    outside: Option<Outside>,
}

impl Knowledge {
    /// Changes what the next life is to know.
    pub fn update<T>(&self, change: impl FnOnce(&mut Left) -> T) -> T {
        change(&mut self.left.lock())
    }

    /// What is acknowledged.
    pub fn known(&self) -> Model {
        self.left.lock().known.clone()
    }

    /// What sources read and sinks write, if there are any.
    pub fn outside(&self) -> Option<&Outside> {
        self.outside.as_ref()
    }

    /// Leaves everything to the next life.
    fn hand_on(&self, disk: &FaultyFiles) -> Result<()> {
        self.left.lock().write(&self.folder.join("model"))?;
        save(disk, &self.folder.join("image"))
    }
}

/// Lives it. The process ends in the middle when the power goes.
///
/// # Errors
/// What the server did or held that it should not have.
pub fn live(life: Life) -> Result<()> {
    let mut random = StdRng::seed_from_u64(life.seed.wrapping_mul(1_000).wrapping_add(life.number));
    let left = Left::read(&life.folder.join("model"))?;
    let is_first = left.is_none();
    let mut left = left.unwrap_or(Left { known: Model::default(), under_way: vec![], sent: 0 });
    let outside = if life.outside { Some(Outside::open(&life.folder.join("outside"))?) } else { None };
    // The power may have gone when a file had grown and nobody knew of it yet.
    left.known.lines = outside.as_ref().map(Outside::lines).transpose()?;
    let disk = load(&life.folder.join("image"))?;
    let knowledge = Arc::new(Knowledge { left: Mutex::new(left), folder: life.folder.clone(), outside });
    // The first life begins by making its tables, before anything can happen to it.
    let longest = if random.random_ratio(1, 4) { SHORT } else { LONGEST };
    let power = random.random_range(0..longest);
    let (heir, remains) = (knowledge.clone(), random.random());
    disk.on_crash(remains, move |image| {
        println!("the power goes");
        let handed_on = heir.hand_on(&image);
        let _ = std::io::stdout().flush();
        std::process::exit(if handed_on.is_ok() { POWER_LOST } else { 1 });
    });
    if !is_first {
        disk.crash_after(power);
    }
    let config = Config {
        data_dir: life.folder.join("data"),
        workers: random.random_range(1..=3),
        query_threads: 1,
        // Checkpoints come when a statement asks for one.
        checkpoint_interval: u32::MAX.into(),
        checkpoint_log_mib: u32::MAX.into(),
        test_clock: true,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(millrace_server::STACK)
        .enable_all()
        .build()?;
    let opened = disk.clone();
    let database =
        Database::open_on(config, &opened).map_err(|error| anyhow::anyhow!("the server does not start: {error}"))?;
    let lived = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let door = Arc::new(Door::new(database));
        tokio::spawn(millrace_wire::serve(listener, door, millrace_wire::Settings::default(), std::future::pending()));
        let mut sessions = Sessions::open(address, knowledge.clone(), disk.clone()).await?;
        if is_first {
            sessions.first().batch_execute(SCHEMA).await.context("making the tables")?;
            if let Some(outside) = knowledge.outside() {
                sessions.first().batch_execute(&outside.schema()).await.context("making the source and the sinks")?;
            }
            knowledge.update(|left| left.known = Model { lines: left.known.lines.take(), ..Model::first() });
            disk.crash_after(power);
        }
        check(sessions.first(), &knowledge).await.context("after the start")?;
        sessions.follow().await?;
        for _ in 0..life.statements {
            sessions.step(&mut random).await?;
        }
        sessions.check().await.context("at the end")
    });
    lived?;
    // Here the power goes in a quiet moment.
    knowledge.hand_on(&disk.after_crash(remains))?;
    let _ = std::io::stdout().flush();
    // What the server still has open is of no interest: the power is gone.
    std::process::exit(0)
}

/// Writes the contents of a disk into a folder.
fn save(disk: &FaultyFiles, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    for (name, _) in disk.list()? {
        let path = to.join(&name);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, disk.read(&name, usize::MAX)?)?;
    }
    Ok(())
}

/// A disk with the contents of a folder, which may be missing.
fn load(from: &Path) -> Result<FaultyFiles> {
    let disk = FaultyFiles::new();
    for folder in entries(from)? {
        for file in entries(&folder)? {
            let name = file.strip_prefix(from)?.display().to_string();
            disk.put(&name, std::fs::read(&file)?);
        }
    }
    Ok(disk)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(vec![]);
    }
    let mut paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
