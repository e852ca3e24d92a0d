//! The way back: catalog, then tables from the command log, then everything made from them.

use super::clock::{Clock, Waker, now};
use super::define::Parts;
use super::journal::{Journal, stored_catalog};
use super::published::Published;
use super::{Coordinator, nullable, schema_of};
use crate::config::Config;
use crate::statements::{Context, revive};
use arc_swap::ArcSwap;
use millrace_catalog::{Relation, RelationKind};
use millrace_dataflow::engine::{Engine, EngineOptions, TickInput};
use millrace_planner::FunctionSource;
use millrace_storage::{CommandLog, RecordKind, Storage, StorageOptions, batch};
use millrace_types::{Delta, RelationId, Result, Tick};
use parking_lot::Mutex;
use std::collections::BTreeMap;
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
    pub fn open(config: &Config, functions: &FunctionSource) -> Result<Coordinator> {
        let (storage, recovered) = Storage::open(&config.data_dir, StorageOptions::default())?;
        let catalog = stored_catalog(&recovered.catalog)?;
        let next_id = AtomicU32::new(catalog.next_id().0);
        let (requests, queue) = channel();
        let engine = Engine::start(EngineOptions { workers: config.workers })?;
        let published = Arc::new(ArcSwap::from_pointee(Published::new(catalog.clone())));
        let (sources, sink_facts) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
        let replay = Replay::read(&storage.log, &catalog)?;
        let journal = Journal::start(storage, recovered.catalog.version())?;
        let waker = Waker::new(requests.clone());
        let mut state_now = Published::new(catalog);
        state_now.tick = recovered.last_tick;
        let shared = published.clone();
        let mut clock = Clock::new(
            engine,
            journal,
            state_now,
            published.clone(),
            Arc::clone(&sources),
            Arc::clone(&sink_facts),
            waker,
        );
        clock.revive(replay, functions, config)?;
        let thread = std::thread::Builder::new().name("clock".to_owned()).spawn(move || clock.run(queue))?;
        Ok(Coordinator { requests, published: shared, sources, sink_facts, next_id, thread: Mutex::new(Some(thread)) })
    }
}

/// What the command log says of the tables that still exist.
struct Replay {
    tables: BTreeMap<RelationId, Vec<Delta>>,
}

impl Replay {
    fn read(log: &CommandLog, catalog: &millrace_catalog::Catalog) -> Result<Replay> {
        let mut replay = Replay { tables: BTreeMap::new() };
        log.read_all(Tick::default(), |record| {
            if record.kind == RecordKind::Transaction {
                for (table, delta) in batch::decode(record.payload)? {
                    if catalog.get(table).is_some() {
                        replay.tables.entry(table).or_default().push(delta);
                    }
                }
            }
            Ok(())
        })?;
        Ok(replay)
    }
}

impl Clock {
    fn revive(&mut self, replay: Replay, functions: &FunctionSource, config: &Config) -> Result<()> {
        let relations = self.state.catalog.in_order_of_need();
        for relation in relations.iter().filter(|relation| is_stored(relation)) {
            self.start(relation, Parts::default())?;
        }
        for (table, deltas) in replay.tables {
            self.replay_table(table, deltas)?;
        }
        for relation in relations.iter().filter(|relation| !is_stored(relation)) {
            let context = Context::of_recovery(Arc::new(self.state.clone()), functions.clone(), relation);
            self.start(relation, revive::parts(relation, &context)?)?;
        }
        tracing::info!(
            tick = %self.state.tick,
            relations = relations.len(),
            folder = %config.data_dir.display(),
            "recovered"
        );
        Ok(())
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
            if rows >= REPLAY_ROWS || number + 1 == count {
                let joined = Delta::concat(&nullable(&schema), &std::mem::take(&mut open))?;
                let inputs = vec![self.table_input(table, vec![joined])];
                let result = self.engine.tick(TickInput { tick: self.state.tick.next(), inputs, now: now() })?;
                self.publish(result);
                rows = 0;
            }
        }
        Ok(())
    }
}

fn is_stored(relation: &Relation) -> bool {
    matches!(&relation.kind, RelationKind::Table(table) if table.options.is_empty())
}
