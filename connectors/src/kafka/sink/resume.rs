//! What a topic holds already, compared with what is to be delivered.
//!
//! - Rows that are only added: every record that is there stands for one row that comes again. The topic is kept as
//!   counts of 128-bit hashes, and a row that is counted there is not sent.
//! - Rows by key: rows are collected until they are as far as they were; then each key whose row differs is corrected.
//!   A sink that goes on at a position has only keys that came after it, and rows that are only added: a key that does not
//!   come again was not given before either, and stays as it is.

use super::super::connection::{Connection, PATIENCE};
use super::super::envelope::Envelope;
use super::encode::{Encoder, OutRecord};
use super::position::{Ends, Position, Starts};
use crate::sink::SinkState;
use millrace_types::{Result, SqlError, SqlState};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How many records a position names one by one.
const AHEAD: usize = 4096;

/// A record by 128 bits of hash.
pub(super) type Identity = (u64, u64);

/// What the committed records of a topic come to.
#[derive(Default)]
pub(super) struct Content {
    records: u64,
    ends: Ends,
    /// Rows that are only added: how often each is there.
    counts: HashMap<Identity, u32>,
    /// Rows by key: the last one.
    rows: HashMap<Vec<u8>, Vec<u8>>,
}

fn identity(topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Identity {
    let hash = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        (seed, topic, key, value).hash(&mut hasher);
        hasher.finish()
    };
    (hash(0), hash(1))
}

impl Content {
    /// Reads topics from where the sink's records begin to their present ends.
    pub fn read(connection: &Connection, starts: &Starts, encoder: &Encoder, state: &SinkState) -> Result<Content> {
        loop {
            match Content::try_read(connection, starts, encoder, state) {
                Err(error) if error.state().is_connection() && !state.is_stopping() => {
                    state.set_trouble(Some(error));
                    std::thread::sleep(Duration::from_millis(200));
                }
                content => {
                    state.set_trouble(None);
                    return content;
                }
            }
        }
    }

    fn try_read(connection: &Connection, starts: &Starts, encoder: &Encoder, state: &SinkState) -> Result<Content> {
        let client: BaseConsumer =
            connection.consumer("earliest").create().map_err(|error| connection.error("connect to", &error))?;
        let mut content = Content::default();
        // One topic after the other: the end of a partition is told without its topic.
        for (topic, start) in starts {
            let connection = connection.to(topic);
            let failed = |error| connection.error("read back", &error);
            let mut open = BTreeSet::new();
            let mut assignment = TopicPartitionList::new();
            for partition in 0..connection.partitions(&client)? {
                let (_, high) = client.fetch_watermarks(topic, partition as i32, PATIENCE).map_err(failed)?;
                let from = start.of(partition) as i64;
                if from < high {
                    open.insert(partition as i32);
                    assignment.add_partition_offset(topic, partition as i32, Offset::Offset(from)).map_err(failed)?;
                }
            }
            client.assign(&assignment).map_err(failed)?;
            while !open.is_empty() {
                if state.is_stopping() {
                    return Err(stopping());
                }
                match client.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => content.add(encoder, &message),
                    Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
                    Some(Err(error)) => return Err(failed(error)),
                    None => {}
                }
            }
        }
        Ok(content)
    }

    fn add(&mut self, encoder: &Encoder, message: &impl Message) {
        let (topic, key, value) = (message.topic(), message.key(), message.payload());
        if !self.ends.contains_key(topic) {
            self.ends.insert(topic.to_owned(), BTreeMap::new());
        }
        if let Some(ends) = self.ends.get_mut(topic) {
            ends.insert(message.partition() as u32, message.offset() as u64 + 1);
        }
        self.records += 1;
        if encoder.envelope() == Envelope::Plain {
            *self.counts.entry(identity(topic, key, value)).or_default() += 1;
            return;
        }
        let Some(key) = key else { return };
        match encoder.row_of(value) {
            Some(row) => drop(self.rows.insert(key.to_vec(), row)),
            None => drop(self.rows.remove(key)),
        }
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.records
    }
}

/// The error of work that is given up because the server ends.
pub(super) fn stopping() -> SqlError {
    SqlError::new(SqlState::ADMIN_SHUTDOWN, "the sink ends before everything is delivered")
}

/// What was delivered before, while the same rows come again.
pub(super) struct Resume {
    envelope: Envelope,
    /// Where records go that do not say it.
    topic: String,
    content: Content,
    /// Whether the content is only what came after a position.
    is_part: bool,
    /// By key: the last record of each, `None` for a row that is gone.
    wanted: BTreeMap<Vec<u8>, Option<OutRecord>>,
}

impl Resume {
    /// `from`: where the content begins, if the rows do so, too.
    pub fn new(envelope: Envelope, topic: &str, mut content: Content, from: Option<&Position>) -> Resume {
        for (identity, count) in from.iter().flat_map(|position| &position.ahead) {
            *content.counts.entry(*identity).or_default() += count;
        }
        Resume { envelope, topic: topic.to_owned(), content, is_part: from.is_some(), wanted: BTreeMap::new() }
    }

    /// The records whose rows are still to come again. `None` when that cannot be said, or is much.
    pub fn ahead(&self) -> Option<Vec<(Identity, u32)>> {
        let counts = &self.content.counts;
        let is_known = self.envelope == Envelope::Plain && counts.len() <= AHEAD;
        is_known.then(|| counts.iter().map(|(identity, count)| (*identity, *count)).collect())
    }

    /// Behind the last record that was there, of each topic and partition.
    pub fn ends(&self) -> &Ends {
        &self.content.ends
    }

    /// The records that are to be sent now: of rows that are only added, those that are not there yet; of others none
    /// before all are known.
    pub fn filter(&mut self, encoder: &Encoder, mut records: Vec<OutRecord>) -> Vec<OutRecord> {
        if self.envelope == Envelope::Plain {
            records.retain(|record| !self.is_there(record));
            return records;
        }
        for record in records {
            let Some(key) = record.key.clone() else { continue };
            let row = encoder.row_of(record.value.as_deref());
            self.wanted.insert(key, row.map(|row| OutRecord { value: Some(row), ..record }));
        }
        vec![]
    }

    fn is_there(&mut self, record: &OutRecord) -> bool {
        if self.content.counts.is_empty() {
            return false;
        }
        let topic = record.topic.as_deref().unwrap_or(&self.topic);
        let identity = identity(topic, record.key.as_deref(), record.value.as_deref());
        let Some(count) = self.content.counts.get_mut(&identity) else { return false };
        *count -= 1;
        if *count == 0 {
            self.content.counts.remove(&identity);
        }
        true
    }

    /// What makes the topic say what the rows are.
    pub fn difference(mut self, encoder: &Encoder) -> Vec<OutRecord> {
        let mut records = vec![];
        for (key, wanted) in self.wanted {
            let delivered = self.content.rows.remove(&key);
            let wanted = wanted.map(|mut record| (record.value.take().unwrap_or_default(), record));
            if delivered.as_ref() != wanted.as_ref().map(|(row, _)| row) {
                records.push(encoder.correction(key, delivered, wanted));
            }
        }
        for (key, delivered) in self.content.rows.into_iter().filter(|_| !self.is_part) {
            records.push(encoder.correction(key, Some(delivered), None));
        }
        records
    }
}
