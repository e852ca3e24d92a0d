//! The way back: catalog, then tables from the command log, then everything made from them.

use super::arrivals::notes_of;
use super::checkpoint::{CheckpointHistory, Checkpointing, load, note_recovered};
use super::clock::{Clock, Shown, Waker};
use super::copying::Copying;
use super::define::Parts;
use super::event_time::Timed;
use super::journal::{Journal, stored_catalog};
use super::memory::Memory;
use super::published::Published;
use super::remembered::Remembered;
use super::restoring::Restoring;
use super::wall_clock::WallClock;
use super::{Coordinator, nullable, schema_of};
use crate::config::Config;
use crate::database::STACK;
use crate::statements::{Context, revive};
use arc_swap::ArcSwap;
use millrace_catalog::{Relation, RelationKind};
use millrace_dataflow::engine::{Engine, EngineOptions, TickInput};
use millrace_dataflow::state::limit_memory;
use millrace_planner::FunctionSource;
use millrace_storage::{
    ArrivalNote, Checkpoints, DataFolder, Disk, RecordKind, Recovered, SectionPiece, Snapshots, StateFile, Storage,
    StorageOptions, arrivals, batch, offsets,
};
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::channel;

/// Rows of the log that go through the engine in one tick.
const REPLAY_ROWS: usize = 256 * 1024;

impl Coordinator {
    /// Opens the data folder, brings back what it holds and starts the clock. When it returns every table has its
    /// rows, every view on tables is complete, and sources are being read again.
    ///
    /// # Errors
    /// `55006` when another server uses the folder, `XX001` naming a damaged file, `0A000` for a later format.
    pub fn open(config: &Config, disk: &dyn Disk, functions: &FunctionSource) -> Result<Coordinator> {
        let folder = DataFolder::open(&config.data_dir)?;
        let (storage, recovered) = Storage::open_on(disk, folder, StorageOptions::default())?;
        let catalog = stored_catalog(&recovered.catalog)?;
        let next_id = AtomicU32::new(catalog.next_id().0);
        let (requests, queue) = channel();
        let spill = config.data_dir.join("spill");
        std::fs::create_dir_all(&spill)?;
        limit_memory(config.state_memory(), &spill);
        let engine = Engine::start(EngineOptions { workers: config.workers })?;
        let published = Arc::new(ArcSwap::from_pointee(Published::new(catalog.clone())));
        let (sources, sink_facts) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
        let replay = Replay::read(&storage, &recovered, &catalog)?;
        let checkpoints = CheckpointHistory::default();
        recovered.manifest.iter().for_each(|manifest| note_recovered(&checkpoints, manifest));
        let policy = config.checkpoint_policy();
        let checkpointing =
            Checkpointing::start(storage.checkpoints.clone(), policy, checkpoints.clone(), requests.clone())?;
        let stored = storage.checkpoints.clone();
        let snapshots = Arc::new(Snapshots::new(&config.data_dir, stored.clone()));
        let copying = config.checkpoint_store.as_deref();
        let copying = copying.map(|url| Copying::start(url, storage.folder.identity()?, stored.clone())).transpose()?;
        let journal = Journal::start(storage, recovered.catalog.version())?;
        let waker = Waker::new(requests.clone());
        let mut state_now = Published::new(catalog);
        state_now.tick = recovered.last_tick;
        let shared = published.clone();
        let wall = Arc::new(WallClock::open(config.test_clock, &config.data_dir));
        let mut clock = Clock::new(
            engine,
            journal,
            state_now,
            Shown { published: published.clone(), sources: Arc::clone(&sources), sink_facts: Arc::clone(&sink_facts) },
            waker,
            checkpointing,
            wall.clone(),
            Memory::new(config.memory_limit()),
        );
        clock.revive(replay, functions, config)?;
        let thread = std::thread::Builder::new().name("clock".to_owned()).stack_size(STACK);
        let thread = thread.spawn(move || clock.run(queue))?;
        Ok(Coordinator {
            requests,
            published: shared,
            sources,
            sink_facts,
            checkpoints,
            stored,
            snapshots,
            copying,
            next_id,
            positions: Mutex::default(),
            wall,
            thread: Mutex::new(Some(thread)),
        })
    }
}

/// What the last checkpoint and the command log after it say of the relations that still exist.
struct Replay {
    store: Arc<Checkpoints>,
    files: BTreeMap<RelationId, Vec<StateFile>>,
    deltas: BTreeMap<RelationId, Vec<Delta>>,
    offsets: Remembered,
    /// What the wall clock decided about rows of sources and tables.
    arrivals: HashMap<RelationId, Vec<ArrivalNote>>,
    restoring: Restoring,
}

/// What the last checkpoint says of how rows came in.
fn noted_arrivals(storage: &Storage, recovered: &Recovered) -> Result<HashMap<RelationId, Vec<ArrivalNote>>> {
    let mut notes = HashMap::<_, Vec<_>>::new();
    let Some(manifest) = &recovered.manifest else { return Ok(notes) };
    for (source, part) in &manifest.arrivals {
        let file = manifest.state_files.iter().find(|file| (file.relation, file.part) == (*source, *part));
        let lost = || SqlError::new(SqlState::DATA_CORRUPTED, "a checkpoint does not name a file that it needs");
        for (split, content) in storage.checkpoints.load_sections(file.ok_or_else(lost)?)? {
            if let SectionPiece::Rows(rows) = content {
                notes.entry(*source).or_default().extend(notes_of(*source, &split, &rows)?);
            }
        }
    }
    Ok(notes)
}

impl Replay {
    fn read(storage: &Storage, recovered: &Recovered, catalog: &millrace_catalog::Catalog) -> Result<Replay> {
        let tables: BTreeMap<_, _> = catalog.relations().map(|relation| (relation.storage(), relation.id)).collect();
        let (mut files, mut deltas) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        let mut offsets = Remembered::default();
        let mut notes = noted_arrivals(storage, recovered)?;
        if let Some(manifest) = &recovered.manifest {
            offsets.learn(manifest.source_offsets.clone());
            for file in &manifest.state_files {
                if let Some(table) = tables.get(&file.relation) {
                    files.entry(*table).or_default().push(file.clone());
                }
            }
        }
        // Changes of tables that are fed count with the offsets that follow them; without these they are read again.
        let fed = |table: &RelationId| catalog.get(*table).is_some_and(|table| table.is_fed());
        let mut held: Vec<(RelationId, Delta)> = vec![];
        storage.log.read_all(recovered.replay_from(), |record| {
            match record.kind {
                RecordKind::Transaction => {
                    held.clear();
                    for (storage, delta) in batch::decode(record.payload)? {
                        match tables.get(&storage) {
                            Some(table) if fed(table) => held.push((*table, delta)),
                            Some(table) => deltas.entry(*table).or_default().push(delta),
                            None => {}
                        }
                    }
                }
                RecordKind::Offsets => {
                    for (table, delta) in held.drain(..) {
                        deltas.entry(table).or_default().push(delta);
                    }
                    offsets.learn(offsets::decode(record.payload)?);
                }
                RecordKind::Arrivals => {
                    for note in arrivals::decode(record.payload)? {
                        notes.entry(note.relation).or_default().push(note);
                    }
                }
                RecordKind::CatalogChange => {}
            }
            Ok(())
        })?;
        offsets.retain(|source| catalog.get(source).is_some());
        let restoring = Restoring::new(storage.checkpoints.clone(), recovered.manifest.as_ref(), catalog);
        Ok(Replay { store: storage.checkpoints.clone(), files, deltas, offsets, arrivals: notes, restoring })
    }

    /// The rows of a table as of the checkpoint, in pieces that need not be in memory together.
    fn rows_of(&mut self, table: RelationId) -> impl Iterator<Item = Result<Vec<Delta>>> + use<> {
        let (store, files) = (self.store.clone(), self.files.remove(&table).unwrap_or_default());
        files.into_iter().map(move |file| load(&store, &file))
    }
}

impl Clock {
    fn revive(&mut self, mut replay: Replay, functions: &FunctionSource, config: &Config) -> Result<()> {
        let relations = self.state.catalog.in_order_of_need();
        self.recovered_arrivals = std::mem::take(&mut replay.arrivals);
        for relation in relations.iter().filter(|relation| is_stored(relation)) {
            let timed = self.recovered_time(relation, functions);
            self.start(relation, Parts { timed, ..Parts::default() })?;
        }
        self.recall_clock(&replay.restoring);
        for table in relations.iter().filter(|relation| is_stored(relation)) {
            replay.rows_of(table.id).try_for_each(|deltas| self.replay_table(table.id, deltas?))?;
            let (time, now) = (replay.restoring.time_of(table.id), self.now());
            if let Some((known, stored)) = self.table_times.get_mut(&table.id).zip(time) {
                known.recall(stored, now);
            }
        }
        self.remembered = std::mem::take(&mut replay.offsets);
        // What was as it is now when the checkpoint was taken comes first, and sees the log since then.
        let (early, late): (Vec<_>, Vec<_>) = relations
            .iter()
            .filter(|relation| !is_stored(relation) || relation.is_fed())
            .partition(|relation| replay.restoring.keeps(relation.id) || is_source(relation));
        for relation in &early {
            self.bring_back(relation, functions, Some(&mut replay.restoring));
        }
        self.resume_sinks(functions, &mut replay.restoring)?;
        self.resume(&mut replay.restoring)?;
        for table in relations.iter().filter(|relation| is_stored(relation)) {
            let logged = replay.deltas.remove(&table.id).unwrap_or_default();
            self.replay_table(table.id, logged)?;
            let floor = self.arrivals.get(&table.id).and_then(|arrivals| arrivals.watermark());
            self.table_times.get_mut(&table.id).into_iter().for_each(|time| time.set_floor(floor));
        }
        let is_left = |relation: &&Arc<Relation>| !replay.restoring.has(relation.id) && !is_source(relation);
        let mut left: Vec<_> = early.into_iter().chain(late).filter(is_left).collect();
        left.sort_by_key(|relation| relations.iter().position(|known| known.id == relation.id));
        for relation in left {
            self.bring_back(relation, functions, None);
        }
        self.begin_recovering();
        tracing::info!(
            tick = %self.state.tick,
            relations = relations.len(),
            folder = %config.data_dir.display(),
            "recovered"
        );
        Ok(())
    }

    /// Starts a relation again; a view from its state, if `restoring` is given, or not yet.
    fn bring_back(&mut self, relation: &Arc<Relation>, functions: &FunctionSource, restoring: Option<&mut Restoring>) {
        let context = Context::of_recovery(Arc::new(self.state.clone()), functions.clone(), relation);
        let parts = revive::parts(relation, &context);
        let started = match (restoring.filter(|_| !is_source(relation)), parts) {
            (Some(restoring), Ok(Parts { job: Some(job), .. })) => self.restore_view(relation, job, restoring),
            // It has another chance.
            (Some(_), _) => Ok(()),
            (None, Ok(Parts { source: Some(source), .. })) if relation.is_fed() => self.start_feed(relation, source),
            (None, Ok(parts)) => self.start(relation, parts),
            (None, Err(error)) => Err(error),
        };
        if let Err(error) = started {
            // Whoever reads it, or a view made from it, gets the error; everything else is served.
            tracing::error!(relation = relation.name, %error, "a definition cannot be brought back");
            self.state.failed.insert(relation.id, error);
        }
    }

    /// The watermark of a table, as its definition says.
    fn recovered_time(&self, relation: &Relation, functions: &FunctionSource) -> Option<Arc<Timed>> {
        let context = Context::of_recovery(Arc::new(self.state.clone()), functions.clone(), relation);
        revive::timed(relation, &context).unwrap_or_else(|error| {
            tracing::error!(relation = relation.name, %error, "a watermark cannot be brought back");
            None
        })
    }

    fn replay_table(&mut self, table: RelationId, deltas: Vec<Delta>) -> Result<()> {
        let Some(relation) = self.state.catalog.get(table).cloned() else { return Ok(()) };
        let schema = schema_of(&relation);
        let mut open = vec![];
        let mut rows = 0;
        let count = deltas.len();
        for (number, delta) in deltas.into_iter().enumerate() {
            rows += delta.len();
            // The log keeps columns and types; names and marks are the catalog's.
            let batch = arrow::array::RecordBatch::try_new(nullable(&schema), delta.rows().columns().to_vec())?;
            open.push(delta.with_rows(batch));
            // What is late for a table depends on what came in earlier ticks.
            if rows >= REPLAY_ROWS || number + 1 == count || self.table_times.contains_key(&table) {
                let joined = Delta::concat(&nullable(&schema), &std::mem::take(&mut open))?;
                self.observe_table(table, &joined);
                let watermarks = self.advance_times();
                let inputs = vec![self.table_input(table, vec![joined])];
                let (tick, now) = (self.state.tick.next(), self.now());
                let result = self.engine.tick(TickInput { tick, inputs, now, watermarks })?;
                self.publish(result);
                rows = 0;
            }
        }
        Ok(())
    }
}

fn is_source(relation: &Relation) -> bool {
    matches!(relation.kind, RelationKind::Source { .. })
}

fn is_stored(relation: &Relation) -> bool {
    match &relation.kind {
        RelationKind::Table(table) => table.is_stored(),
        RelationKind::Sequence(_) => true,
        _ => false,
    }
}
