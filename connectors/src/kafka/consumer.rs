//! One connection for all partitions of a reading. What arrives is sorted into a lane for each partition, from which the
//! partition's reader takes it.
//!
//! ```text
//!   broker --> queue of records --poll--> lane 0 --> reader 0
//!              (bounded: when nobody      lane 1 --> reader 1
//!               polls, fetching stops)
//! ```
//!
//! All readers of a reading are polled by one thread, so lanes are emptied as fast as they are filled.

use super::batch::{Batch, Wanted};
use super::connection::{Connection, PATIENCE};
use super::queue::{Arrival, RecordQueue};
use millrace_types::{Result, SqlError, SqlState};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::{Message, Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records taken from the client's queue in one go.
const POLL_RECORDS: usize = 32 * 1024;
/// Bytes that lanes hold before nothing more is taken from the client's queue.
const HELD_BYTES: usize = 2 << 20;

/// How often is written down in the cluster how far the group has read.
const MIRROR: Duration = Duration::from_secs(5);

/// How far a source has read its partitions, as others shall see it: the greatest offsets of all its connections, under
/// the name of its consumer group. Nothing here goes by it.
#[derive(Default)]
pub(super) struct Mirror {
    read: BTreeMap<i32, i64>,
    written: BTreeMap<i32, i64>,
    at: Option<Instant>,
}

/// What the client's own threads report.
#[derive(Default)]
pub(super) struct Reports {
    /// Where each partition ends for a reader of committed records.
    ends: Mutex<HashMap<i32, i64>>,
    /// Whether a broker answers; `None` before that is known.
    connected: Mutex<Option<bool>>,
}

impl ClientContext for Reports {
    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        *self.connected.lock() = Some(up);
        let mut ends = self.ends.lock();
        for topic in statistics.topics.values() {
            for (id, partition) in topic.partitions.iter().filter(|(id, _)| **id >= 0) {
                let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
                if end >= 0 {
                    ends.insert(*id, end);
                }
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
    }
}

impl ConsumerContext for Reports {}

/// A consumer of some partitions of a topic.
pub(super) struct SharedConsumer {
    queue: RecordQueue<Reports>,
    connection: Connection,
    wanted: Wanted,
    skip_gaps: bool,
    state: Mutex<State>,
    mirror: Option<Arc<Mutex<Mirror>>>,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<i32, Lane>,
    /// Bytes in all lanes.
    held: usize,
    /// Why nothing arrives at the moment.
    trouble: Option<SqlError>,
}

struct Lane {
    batch: Batch,
    /// The offset after the last record that arrived.
    next: i64,
    at_end: bool,
    /// Whether something has arrived: until then its way here may still be closed by the end of a reading before.
    is_open: bool,
    failure: Option<SqlError>,
}

impl Lane {
    fn new(next: i64) -> Lane {
        Lane { batch: Batch::default(), next, at_end: false, is_open: false, failure: None }
    }
}

/// What a lane holds.
pub(super) enum Taken {
    Records(Batch),
    /// Nothing, and the partition has no more.
    End,
    /// Nothing yet; with what stands in the way.
    Nothing(Option<SqlError>),
}

impl SharedConsumer {
    /// A consumer of nothing yet.
    pub fn new(
        connection: &Connection,
        wanted: Wanted,
        skip_gaps: bool,
        mirror: Option<Arc<Mutex<Mirror>>>,
    ) -> Result<SharedConsumer> {
        let config = connection.consumer(if skip_gaps { "earliest" } else { "error" });
        let failed = |error| connection.error("connect to", &error);
        let client: BaseConsumer<Reports> = config.create_with_context(Reports::default()).map_err(failed)?;
        let queue = RecordQueue::new(client).ok_or_else(|| SqlError::internal("the Kafka client makes no queue"))?;
        let connection = connection.clone();
        Ok(SharedConsumer { queue, connection, wanted, skip_gaps, state: Mutex::default(), mirror })
    }

    /// Begins to read a partition.
    pub fn add(&self, partition: u32, from: u64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        let partition = partition as i32;
        let failed = |error| self.connection.error("read", &error);
        list.add_partition_offset(&self.connection.topic, partition, Offset::Offset(from as i64)).map_err(failed)?;
        self.state.lock().lanes.insert(partition, Lane::new(from as i64));
        self.route(partition);
        self.client().incremental_assign(&list).map_err(failed)
    }

    fn client(&self) -> &BaseConsumer<Reports> {
        self.queue.client()
    }

    fn route(&self, partition: i32) {
        if self.queue.route(&self.connection.topic, partition).is_none() {
            let message = format!("partition {partition} of Kafka topic \"{}\" has no queue", self.connection.topic);
            self.state.lock().trouble = Some(SqlError::internal(message));
        }
    }

    /// Ends reading a partition.
    pub fn remove(&self, partition: u32) {
        let partition = partition as i32;
        let mut state = self.state.lock();
        if let Some(lane) = state.lanes.remove(&partition) {
            state.held -= lane.batch.bytes.len();
            drop(state);
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.connection.topic, partition);
            if let Err(error) = self.client().incremental_unassign(&list) {
                tracing::debug!(%error, partition, "a partition could not be given back");
            }
        }
    }

    /// Sorts what has arrived into lanes; waits so long for the first record.
    pub fn poll(&self, timeout: Duration) {
        self.show_read();
        let closed = |(partition, lane): (&i32, &Lane)| (!lane.is_open).then_some(*partition);
        let closed: Vec<i32> = self.state.lock().lanes.iter().filter_map(closed).collect();
        closed.into_iter().for_each(|partition| self.route(partition));
        let mut troubles: Vec<KafkaError> = vec![];
        // Statistics, and errors that are of no partition.
        match self.client().poll(Duration::ZERO) {
            Some(Err(error)) => troubles.push(error),
            Some(Ok(record)) => self.stray(record.partition()),
            None => {}
        }
        if self.state.lock().held < HELD_BYTES {
            self.sort(timeout, &mut troubles);
        }
        troubles.iter().for_each(|error| self.note(error));
        if *self.client().context().connected.lock() == Some(true) {
            let mut state = self.state.lock();
            state.trouble = state.trouble.take().filter(|error| error.state() != SqlState::CONNECTION_FAILURE);
        }
    }

    fn sort(&self, timeout: Duration, troubles: &mut Vec<KafkaError>) {
        // Locked when something has arrived.
        let (mut state, mut records) = (None, 0);
        self.queue.take(timeout, |arrival| {
            let State { lanes, held, trouble } = &mut **state.get_or_insert_with(|| self.state.lock());
            match arrival {
                Arrival::Record(record) => {
                    records += 1;
                    *trouble = None;
                    if let Some(lane) = lanes.get_mut(&record.partition()) {
                        *held += lane.batch.push(&record, self.wanted);
                        lane.next = record.offset() + 1;
                        (lane.at_end, lane.is_open) = (false, true);
                    }
                }
                Arrival::End(partition) => {
                    *trouble = None;
                    if let Some(lane) = lanes.get_mut(&partition) {
                        (lane.at_end, lane.is_open) = (true, true);
                    }
                }
                Arrival::Trouble(error) => troubles.push(error),
            }
            records < POLL_RECORDS && *held < HELD_BYTES
        });
    }

    /// A record that came by another way would be missing in its order.
    fn stray(&self, partition: i32) {
        if let Some(lane) = self.state.lock().lanes.get_mut(&partition) {
            lane.failure = Some(SqlError::internal(format!("a record of partition {partition} came out of order")));
        }
    }

    /// Notes what stands in the way, or what ends a lane.
    fn note(&self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        if matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) {
            return self.find_gaps();
        }
        *self.client().context().connected.lock() = None;
        self.state.lock().trouble = Some(self.connection.error("read", error));
    }

    /// Finds the lanes whose place in the partition is no longer there.
    fn find_gaps(&self) {
        let places: Vec<_> = self.state.lock().lanes.iter().map(|(partition, lane)| (*partition, lane.next)).collect();
        for (partition, next) in places {
            match self.client().fetch_watermarks(&self.connection.topic, partition, PATIENCE) {
                Ok((low, high)) if next < low || next > high => {
                    let error = gap(&self.connection.topic, partition, next, (low, high));
                    if let Some(lane) = self.state.lock().lanes.get_mut(&partition) {
                        lane.failure = Some(error);
                    }
                }
                Ok(_) => {}
                Err(error) => self.state.lock().trouble = Some(self.connection.error("read the offsets of", &error)),
            }
        }
    }

    /// What has arrived of a partition.
    ///
    /// # Errors
    /// `XX001` when records that were to be read are gone.
    pub fn take(&self, partition: u32) -> Result<Taken> {
        let State { lanes, held, trouble } = &mut *self.state.lock();
        let Some(lane) = lanes.get_mut(&(partition as i32)) else {
            return Err(SqlError::internal(format!("partition {partition} is not being read")));
        };
        if !lane.batch.records.is_empty() {
            *held -= lane.batch.bytes.len();
            let next = lane.batch.next();
            return Ok(Taken::Records(std::mem::replace(&mut lane.batch, next)));
        }
        match (&lane.failure, trouble) {
            (Some(error), _) if !self.skip_gaps => Err(error.clone()),
            (_, Some(error)) => Ok(Taken::Nothing(Some(error.clone()))),
            _ if lane.at_end => Ok(Taken::End),
            _ => Ok(Taken::Nothing(None)),
        }
    }

    /// Says that the records of a partition before `next` are read.
    pub fn has_read(&self, partition: u32, next: u64) {
        if let Some(mirror) = &self.mirror {
            let mut mirror = mirror.lock();
            let read = mirror.read.entry(partition as i32).or_default();
            *read = (*read).max(next as i64);
        }
    }

    /// Writes down in the cluster how far the group has read, now and then.
    fn show_read(&self) {
        let Some(mirror) = &self.mirror else { return };
        let Mirror { read, written, at } = &mut *mirror.lock();
        if read == written || at.is_some_and(|at| at.elapsed() < MIRROR) {
            return;
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in read.iter().filter(|(partition, offset)| written.get(partition) != Some(offset)) {
            // What is no offset is left out.
            let _ = offsets.add_partition_offset(&self.connection.topic, *partition, Offset::Offset(*offset));
        }
        if let Err(error) = self.client().commit(&offsets, CommitMode::Async) {
            tracing::debug!(%error, topic = self.connection.topic, "the group's offsets are not written");
        }
        (*written, *at) = (read.clone(), Some(Instant::now()));
    }

    /// How many records follow `next`, as far as that is known.
    pub fn lag(&self, partition: u32, next: u64) -> Option<u64> {
        let end = self.client().context().ends.lock().get(&(partition as i32)).copied()?;
        Some((end as u64).saturating_sub(next))
    }
}

fn gap(topic: &str, partition: i32, next: i64, (low, high): (i64, i64)) -> SqlError {
    let message = format!("offset {next} of partition {partition} of Kafka topic \"{topic}\" is no longer available");
    let detail =
        format!("The partition holds offsets {low} to {high}: records were deleted, or the topic was made anew.");
    SqlError::new(SqlState::DATA_CORRUPTED, message)
        .with_detail(detail)
        .with_hint("The option on_gap = 'skip' goes on with what is there.")
}
