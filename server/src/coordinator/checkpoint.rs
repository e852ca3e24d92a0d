//! Checkpoints: all tables, the catalog and how far sources were read, as of one tick, so that the log before it can go.
//!
//! ```text
//!   clock: between two ticks         journal                 the checkpoint's thread          clock
//!   what is published, offsets --+
//!                                +-> all synced, new segment --> files, manifest --> log before it is deleted
//! ```
//!
//! What is published never changes, so capturing it costs the clock nothing. The rows of a table are blocks that its
//! versions share; a block is written once, and named again by later checkpoints for as long as it lives. So a checkpoint
//! costs what has changed since the last one. The state of views is captured in the same moment (`view_state`).

use super::clock::Request;
use super::journal::Mark;
use super::published::Published;
use super::view_files::ViewFiles;
use super::view_state::CapturedState;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millrace_catalog::RelationKind;
use millrace_dataflow::capture::{Known, READ_MODEL};
use millrace_dataflow::read_model::{Block, BlockId, ReadModel};
use millrace_storage::batch::WEIGHT;
use millrace_storage::{Checkpoints, Manifest, SourceOffset, StateFile};
use millrace_types::{Delta, KEY_GROUPS, RelationId, Result, SqlError, SqlState, Tick, Weights};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;

/// Blocks of at least this many rows have files of their own; smaller ones of a table share one.
pub(super) const OWN_FILE_ROWS: usize = 64 * 1024;
/// How far behind other threads the one that writes checkpoints stands, from 0 to 19.
const NICENESS: i32 = 10;
/// How many checkpoints `millrace.checkpoints` shows.
const SHOWN: usize = 100;
/// How long the last checkpoint may hold up the end of the server.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// When checkpoints are taken by themselves.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointPolicy {
    /// After this time, if anything was written.
    pub interval: Duration,
    /// After the log has grown by this many bytes.
    pub log_bytes: u64,
}

/// A checkpoint, as `millrace.checkpoints` shows it.
#[derive(Clone, Debug)]
pub struct CheckpointFacts {
    /// Its number; none, if it was not written.
    pub id: Option<u64>,
    pub tick: Tick,
    /// `None` for the one that the server started from.
    pub started: Option<SystemTime>,
    pub duration: Option<Duration>,
    /// What was written for it, and what it consists of.
    pub bytes_new: u64,
    pub bytes_total: u64,
    pub files: usize,
    pub error: Option<SqlError>,
    /// What it keeps of views.
    pub state: Arc<[StateFacts]>,
}

/// What a checkpoint keeps of a view: the state of an operator, or the rows, on one worker.
#[derive(Clone, Copy, Debug)]
pub struct StateFacts {
    pub view: RelationId,
    pub worker: u32,
    /// The operator's number in the view; none for the rows.
    pub operator: Option<u32>,
    pub bytes: u64,
}

/// What sessions read of checkpoints, oldest first.
pub type CheckpointHistory = Arc<Mutex<VecDeque<CheckpointFacts>>>;

/// The clock's side.
pub struct Checkpointing {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    abandon: Arc<AtomicBool>,
    policy: CheckpointPolicy,
    /// Statements that wait for the checkpoint under way.
    waiting: Vec<oneshot::Sender<Result<Tick>>>,
    /// Statements that came since and wait for the one after it.
    next: Vec<oneshot::Sender<Result<Tick>>>,
    running: bool,
    /// When the last one began, and how much had been written then.
    last: (Instant, u64),
    /// Which state of views is in files.
    known: Arc<Known>,
}

struct Work {
    published: Published,
    captured: CapturedState,
    offsets: Vec<SourceOffset>,
    mark: Receiver<Result<Mark>>,
}

/// What a checkpoint came to.
pub type Outcome = Result<Written>;

/// A checkpoint that is there.
#[derive(Clone)]
pub struct Written {
    tick: Tick,
    /// The tick before which the log can go.
    before: Tick,
    /// Which state of views is in files now.
    known: Arc<Known>,
}

impl Checkpointing {
    /// Starts the thread; it reports to the clock.
    pub fn start(
        store: Arc<Checkpoints>,
        policy: CheckpointPolicy,
        history: CheckpointHistory,
        clock: Sender<Request>,
    ) -> Result<Checkpointing> {
        let (work, queue) = channel::<Work>();
        let abandon = Arc::new(AtomicBool::new(false));
        let mut writer =
            Writer { store, history, abandon: abandon.clone(), written: HashMap::new(), views: ViewFiles::default() };
        let run = move || {
            give_way();
            for work in queue {
                // The clock is gone only when the server has ended without waiting.
                let _ = clock.send(Request::Checkpointed(writer.checkpoint(work)));
            }
        };
        let thread = thread::Builder::new().name("checkpoint".to_owned()).spawn(run)?;
        Ok(Checkpointing {
            work: Some(work),
            thread: Some(thread),
            abandon,
            policy,
            waiting: vec![],
            next: vec![],
            running: false,
            last: (Instant::now(), 0),
            known: Arc::default(),
        })
    }

    fn is_due(&self, written: u64) -> bool {
        let grown = written - self.last.1;
        !self.running && grown > 0 && (grown >= self.policy.log_bytes || self.last.0.elapsed() >= self.policy.interval)
    }
}

impl super::clock::Clock {
    /// Takes a checkpoint if it is time for one.
    pub(super) fn checkpoint_if_due(&mut self) {
        if self.checkpoints.is_due(self.journal.written()) {
            self.begin_checkpoint();
        }
    }

    /// A statement asks for a checkpoint of everything that was committed before it.
    pub(super) fn checkpoint_now(&mut self, reply: oneshot::Sender<Result<Tick>>) {
        match self.checkpoints.running {
            true => self.checkpoints.next.push(reply),
            false => {
                self.checkpoints.waiting.push(reply);
                self.begin_checkpoint();
            }
        }
    }

    fn begin_checkpoint(&mut self) {
        let begun = Instant::now();
        let captured = self.capture(self.checkpoints.known.clone()).unwrap_or_else(|error| {
            tracing::error!(%error, "the state of views is not in this checkpoint");
            CapturedState::default()
        });
        tracing::debug!(took = ?begun.elapsed(), "the state of views is captured");
        let (published, offsets, mark) = (self.state.clone(), self.source_offsets(), self.journal.mark());
        let work = Work { published, captured, offsets, mark };
        // What is written from here on belongs to later ticks, so that the log can be cut between them.
        self.state.tick = self.state.tick.next();
        self.show();
        self.checkpoints.last = (Instant::now(), self.journal.written());
        self.checkpoints.running = self.checkpoints.work.as_ref().is_some_and(|queue| queue.send(work).is_ok());
    }

    /// The checkpoint's thread is through.
    pub(super) fn finish_checkpoint(&mut self, outcome: Outcome) {
        self.checkpoints.running = false;
        if let Ok(Written { before, known, .. }) = &outcome {
            self.journal.truncate(*before);
            self.checkpoints.known = known.clone();
        }
        for waiting in std::mem::take(&mut self.checkpoints.waiting) {
            let _ = waiting.send(outcome.clone().map(|written| written.tick));
        }
        self.checkpoints.waiting = std::mem::take(&mut self.checkpoints.next);
        if !self.checkpoints.waiting.is_empty() {
            self.begin_checkpoint();
        }
    }

    /// Takes a last checkpoint when there is something to save, and ends the thread.
    pub(super) fn end_checkpoints(&mut self, requests: &Receiver<Request>) {
        if !self.checkpoints.running && self.journal.written() > self.checkpoints.last.1 {
            self.begin_checkpoint();
        }
        let deadline = Instant::now() + LAST_WAIT;
        while self.checkpoints.running {
            match requests.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Request::Checkpointed(outcome)) => {
                    self.checkpoints.next.clear();
                    self.finish_checkpoint(outcome);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.checkpoints.abandon.store(true, Ordering::Relaxed);
        self.checkpoints.work = None;
        if let Some(thread) = self.checkpoints.thread.take() {
            // A panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Lets other threads go before this one: a checkpoint may take a little longer, but ticks may not.
fn give_way() {
    // SAFETY: the call takes three numbers and no memory. On Linux it changes when the calling thread is scheduled, and
    // nothing else.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) } != 0 {
        tracing::debug!("checkpoints are written as eagerly as ticks are run");
    }
}

/// The thread's side.
struct Writer {
    store: Arc<Checkpoints>,
    history: CheckpointHistory,
    abandon: Arc<AtomicBool>,
    /// The files of the last checkpoint, by relation, with the blocks that they hold.
    written: HashMap<RelationId, Vec<(Vec<BlockId>, StateFile)>>,
    /// Those of views.
    views: ViewFiles,
}

impl Writer {
    fn checkpoint(&mut self, work: Work) -> Outcome {
        let (started, clock) = (SystemTime::now(), Instant::now());
        let tick = work.published.tick;
        let (mut bytes_new, mut manifest) = (0, None);
        let outcome = self.write(work, &mut bytes_new, &mut manifest);
        if let Err(error) = &outcome {
            tracing::warn!(%tick, %error, "no checkpoint could be written; the command log is kept");
        }
        let files = manifest.as_ref().map_or(&[][..], |manifest: &Manifest| &manifest.state_files);
        let facts = CheckpointFacts {
            id: outcome.is_ok().then(|| self.store.latest().map_or(0, |newest| newest.number)),
            tick,
            started: Some(started),
            duration: Some(clock.elapsed()),
            bytes_new,
            bytes_total: files.iter().map(|file| file.bytes).sum(),
            files: files.len(),
            error: outcome.as_ref().err().cloned(),
            state: manifest.as_ref().map_or(Arc::default(), state_of),
        };
        note(&self.history, facts);
        outcome.map(|before| Written { tick, before, known: Arc::new(self.views.known()) })
    }

    fn write(&mut self, work: Work, bytes_new: &mut u64, done: &mut Option<Manifest>) -> Result<Tick> {
        let gone = || SqlError::internal("the journal has ended");
        let Mark { position, catalog_version } = work.mark.recv().map_err(|_| gone())??;
        let (published, mut now) = (work.published, HashMap::new());
        let mut manifest = Manifest::new(published.tick, position, catalog_version, published.catalog.to_bytes()?);
        manifest.source_offsets = work.offsets;
        let is_stored = |kind: &RelationKind| matches!(kind, RelationKind::Table(_) | RelationKind::Sequence(_));
        for relation in published.catalog.relations().filter(|relation| is_stored(&relation.kind)) {
            let Some(model) = published.models.get(&relation.id) else { continue };
            let files = self.table(relation.storage(), model, published.tick, bytes_new)?;
            manifest.state_files.extend(files.iter().map(|(_, file)| file.clone()));
            now.insert(relation.storage(), files);
        }
        let (views, bytes) = self.views.write(work.captured, &mut manifest, &self.store, &|| self.goes_on())?;
        *bytes_new += bytes;
        let before = self.store.commit(manifest.clone())?;
        (self.written, self.views) = (now, views);
        *done = Some(manifest);
        Ok(before)
    }

    fn goes_on(&self) -> Result<()> {
        match self.abandon.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(SqlError::new(SqlState::ADMIN_SHUTDOWN, "the server ends before the checkpoint is through")),
        }
    }

    /// The files of a table, those that are new written.
    fn table(
        &self,
        relation: RelationId,
        model: &ReadModel,
        tick: Tick,
        bytes_new: &mut u64,
    ) -> Result<Vec<(Vec<BlockId>, StateFile)>> {
        let (large, small): (Vec<_>, Vec<_>) = model.blocks().partition(|block| block.rows() >= OWN_FILE_ROWS);
        let groups = large.into_iter().map(|block| vec![block]).chain((!small.is_empty()).then_some(small));
        let known = self.written.get(&relation).map_or(&[][..], Vec::as_slice);
        let mut files = vec![];
        for (part, blocks) in groups.enumerate() {
            let same = |(ids, _): &&(Vec<BlockId>, StateFile)| {
                ids.len() == blocks.len() && ids.iter().zip(&blocks).all(|(id, block)| id.is(block))
            };
            let part = part as u32;
            let file = match known.iter().find(same) {
                Some((_, file)) => StateFile { part, ..file.clone() },
                None => {
                    let name = format!("{relation}-{tick}-{part}.arrow");
                    let file = self.file((relation, part), &name, model.schema(), &blocks)?;
                    *bytes_new += file.bytes;
                    file
                }
            };
            files.push((blocks.iter().map(Block::id).collect(), file));
        }
        Ok(files)
    }

    fn file(
        &self,
        (relation, part): (RelationId, u32),
        name: &str,
        schema: &SchemaRef,
        blocks: &[Block],
    ) -> Result<StateFile> {
        let schema = weighted(schema);
        let batch = |delta: Delta| with_weights(&delta, &schema);
        let batches = blocks.iter().flat_map(Block::deltas).map(batch).collect::<Result<Vec<_>>>()?;
        self.goes_on()?;
        self.store.put_file((relation, part, 0..KEY_GROUPS), name, &schema, &batches)
    }
}

/// The columns of rows, any of which may be NULL, and after them their weights.
pub(super) fn weighted(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.chain([Field::new(WEIGHT, DataType::Int64, false)]).collect::<Vec<_>>()))
}

/// Rows and their weights as a batch of this schema, which is [`weighted`].
pub(super) fn with_weights(delta: &Delta, schema: &SchemaRef) -> Result<RecordBatch> {
    let weights: ArrayRef = Arc::new(Int64Array::from(delta.weights_buffer().to_vec()));
    let columns = delta.rows().columns().iter().cloned().chain([weights]).collect();
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// What [`with_weights`] made a batch of; `None` when the batch is another one.
pub(super) fn without_weights(rows: &RecordBatch) -> Result<Option<Delta>> {
    let last = rows.num_columns().checked_sub(1).filter(|last| rows.schema_ref().field(*last).name() == WEIGHT);
    let weights = last.and_then(|last| rows.column(last).as_primitive_opt::<Int64Type>().cloned());
    let (Some(last), Some(weights)) = (last, weights.filter(|weights| weights.null_count() == 0)) else {
        return Ok(None);
    };
    let rows = rows.project(&(0..last).collect::<Vec<_>>())?;
    Ok(Some(Delta::new(rows, Weights::Each(weights.values().clone()))))
}

/// The rows of a state file with their weights.
///
/// # Errors
/// `XX001` when the file is damaged or holds something else.
pub fn load(store: &Checkpoints, file: &StateFile) -> Result<Vec<Delta>> {
    let delta = |rows: RecordBatch| {
        without_weights(&rows)?.ok_or_else(|| {
            let message = format!("state file \"{}\" holds no rows with weights", file.name);
            SqlError::new(SqlState::DATA_CORRUPTED, message)
        })
    };
    store.load(file)?.into_iter().map(delta).collect()
}

/// Adds a checkpoint to those that are shown.
fn note(history: &CheckpointHistory, facts: CheckpointFacts) {
    let mut history = history.lock();
    history.push_back(facts);
    if history.len() > SHOWN {
        history.pop_front();
    }
}

/// What a checkpoint keeps of views.
fn state_of(manifest: &Manifest) -> Arc<[StateFacts]> {
    let files: HashMap<_, _> = manifest.state_files.iter().map(|f| ((f.relation, f.part), f.bytes)).collect();
    let pieces = manifest.views.iter().flat_map(|view| view.pieces.iter().map(|piece| (view.relation, piece)));
    let facts = pieces.map(|(view, piece)| {
        let parts = [piece.part].into_iter().chain(piece.runs.iter().copied());
        let bytes = parts.map(|part| files.get(&(view, part)).copied().unwrap_or_default()).sum();
        let operator = Some(piece.place).filter(|place| *place != READ_MODEL);
        StateFacts { view, worker: piece.worker, operator, bytes }
    });
    facts.collect()
}

/// The checkpoint that the server starts from, as it is shown.
pub fn note_recovered(history: &CheckpointHistory, manifest: &Manifest) {
    let bytes_total = manifest.state_files.iter().map(|file| file.bytes).sum();
    let (tick, files) = (manifest.tick, manifest.state_files.len());
    let (id, state) = (Some(manifest.number), state_of(manifest));
    let (started, duration, bytes_new, error) = (None, None, 0, None);
    note(history, CheckpointFacts { id, tick, started, duration, bytes_new, bytes_total, files, error, state });
}
