//! The producer: records of ticks on their way, at least once or in transactions.

use super::super::connection::Connection;
use super::super::start::Start;
use super::encode::OutRecord;
use super::position::{Ends, Starts};
use super::progress::{self, Known};
use super::resume::stopping;
use crate::sink::SinkState;
use millrace_types::{Result, SqlError, SqlState, Tick};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long is waited at a time, before looking whether the server ends.
const STEP: Duration = Duration::from_millis(100);
/// How long is waited at a time for a broker to take records: the client waits that long also when it takes them sooner.
const ACKNOWLEDGEMENT: Duration = Duration::from_millis(1);
/// How long a step of a transaction may take before it is tried again.
const TRANSACTION_STEP: Duration = Duration::from_secs(5);

/// How sure delivery is.
#[derive(Clone, Debug)]
pub(super) enum Delivery {
    AtLeastOnce,
    ExactlyOnce {
        /// The transactional id, which fences older processes.
        id: String,
        /// The topic of the progress.
        progress: String,
    },
}

/// What the client's threads report.
#[derive(Default)]
struct Reports {
    /// Behind the last record that a broker took, of each topic and partition.
    ends: Mutex<Ends>,
    failure: Mutex<Option<KafkaError>>,
    trouble: Mutex<Option<String>>,
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client");
        *self.trouble.lock() = Some(reason.to_owned());
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                *self.trouble.lock() = None;
                let (mut ends, topic) = (self.ends.lock(), message.topic());
                if !ends.contains_key(topic) {
                    ends.insert(topic.to_owned(), BTreeMap::new());
                }
                if let Some(ends) = ends.get_mut(topic) {
                    let end = ends.entry(message.partition() as u32).or_default();
                    *end = (*end).max(message.offset() as u64 + 1);
                }
            }
            Err((error, _)) => drop(self.failure.lock().get_or_insert_with(|| error.clone())),
        }
    }
}

/// A producer for one sink.
pub(super) struct Outlet {
    producer: BaseProducer<Reports>,
    connection: Connection,
    delivery: Delivery,
    state: Arc<SinkState>,
    /// Records since the last commit, which are sent again when a transaction fails.
    open: Vec<OutRecord>,
    /// Whether a transaction is open.
    begun: bool,
    /// Whether some of the records are not in it.
    is_torn: bool,
    tick: Tick,
    /// How many records were committed in all.
    committed: u64,
    /// What the progress topic tells.
    known: Option<Known>,
    /// Where records begin in topics other than the sink's own.
    starts: Starts,
}

impl Outlet {
    /// Connects; waits until a broker is there, or the server ends.
    pub fn open(connection: &Connection, delivery: &Delivery, state: Arc<SinkState>) -> Result<Outlet> {
        let connect = |error| connection.error("connect to", &error);
        let mut known = None;
        let reports = Reports::default();
        let producer: BaseProducer<Reports> = match delivery {
            Delivery::AtLeastOnce => {
                // A record waits for a broker as long as it takes.
                let ours = [
                    ("enable.idempotence", "true"),
                    ("message.timeout.ms", "0"),
                    ("linger.ms", "2"),
                    ("partitioner", "murmur2_random"),
                ];
                connection.producer(&ours).create_with_context(reports).map_err(connect)?
            }
            Delivery::ExactlyOnce { id, progress } => {
                let ours = [("transactional.id", &id[..]), ("linger.ms", "5"), ("partitioner", "murmur2_random")];
                let producer: BaseProducer<Reports> =
                    connection.producer(&ours).create_with_context(reports).map_err(connect)?;
                patiently(connection, &state, || progress::ensure(connection, progress))?;
                patiently(connection, &state, || {
                    producer.init_transactions(TRANSACTION_STEP).map_err(|error| connection.error("write", &error))
                })?;
                known = patiently(connection, &state, || progress::read(connection, progress, id))?;
                producer
            }
        };
        Ok(Outlet {
            producer,
            connection: connection.clone(),
            delivery: delivery.clone(),
            state,
            open: vec![],
            begun: false,
            is_torn: false,
            tick: Tick::default(),
            committed: known.as_ref().map_or(0, |known| known.records),
            starts: known.as_ref().map_or_else(Starts::new, |known| known.starts.clone()),
            known,
        })
    }

    /// What was delivered, as the progress says.
    pub fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// Finds out where records begin in a topic that has none yet; waits until it is there, or the server ends.
    pub fn begin_topic(&mut self, topic: &str) -> Result<Start> {
        let connection = self.connection.to(topic);
        let start = loop {
            match Start::ends(&connection) {
                Err(error) if error.state() == SqlState::UNDEFINED_OBJECT || error.state().is_connection() => {
                    if self.state.is_stopping() {
                        return Err(stopping());
                    }
                    self.state.set_trouble(Some(error));
                    std::thread::sleep(STEP);
                }
                found => break found?,
            }
        };
        self.state.set_trouble(None);
        self.starts.insert(topic.to_owned(), start.clone());
        Ok(start)
    }

    /// How many records were committed in all, and behind the last one that a broker took, of each topic and partition.
    pub fn reached(&self) -> (u64, Ends) {
        (self.committed, self.producer.context().ends.lock().clone())
    }

    /// Sends the records of a tick.
    pub fn send(&mut self, tick: Tick, records: Vec<OutRecord>) -> Result<()> {
        self.tick = self.tick.max(tick);
        if let Delivery::AtLeastOnce = self.delivery {
            return records.iter().try_for_each(|record| self.enqueue(record));
        }
        let from = self.open.len();
        self.open.extend(records);
        // What could not be sent at once is sent with all the others, and in their order, when the transaction ends.
        if self.open.len() == from || self.is_torn || (from > 0 && !self.begun) {
            return Ok(());
        }
        let sent = self.begin().and_then(|()| self.open[from..].iter().try_for_each(|record| self.enqueue(record)));
        // What goes wrong in a transaction shows at its end, where all of it is tried again.
        match sent {
            Err(error) if self.is_fatal().is_none() && error.state() != SqlState::ADMIN_SHUTDOWN => {
                self.is_torn = self.begun;
                Ok(())
            }
            sent => sent,
        }
    }

    /// Waits until everything sent is there; in a transaction, commits it.
    pub fn flush(&mut self) -> Result<()> {
        match &self.delivery {
            Delivery::AtLeastOnce => self.drain(),
            Delivery::ExactlyOnce { progress, .. } if !self.open.is_empty() => {
                let progress = progress.clone();
                self.commit(&progress)
            }
            Delivery::ExactlyOnce { .. } => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<()> {
        if !self.begun {
            self.producer.begin_transaction().map_err(|error| self.connection.error("write", &error))?;
            self.begun = true;
        }
        Ok(())
    }

    /// Commits what is open with the progress that it makes; a transaction that fails is given up and sent again.
    fn commit(&mut self, progress: &str) -> Result<()> {
        loop {
            match self.try_commit(progress) {
                Ok(()) => {
                    self.committed += self.open.len() as u64;
                    self.open.clear();
                    self.begun = false;
                    self.state.set_trouble(None);
                    return Ok(());
                }
                Err(error) => {
                    if let Some(fatal) = self.is_fatal() {
                        return Err(fatal);
                    }
                    if self.state.is_stopping() {
                        return Err(stopping());
                    }
                    self.state.set_trouble(Some(self.connection.error("write", &error)));
                    self.give_up()?;
                }
            }
        }
    }

    fn try_commit(&mut self, progress: &str) -> std::result::Result<(), KafkaError> {
        let id = match &self.delivery {
            Delivery::ExactlyOnce { id, .. } => id.clone(),
            Delivery::AtLeastOnce => return Ok(()),
        };
        if self.is_torn {
            return Err(KafkaError::Canceled);
        }
        if !self.begun {
            self.producer.begin_transaction()?;
            self.begun = true;
            for record in &self.open {
                self.enqueue_once(record)?;
            }
        }
        let note = progress::note(self.tick, self.committed + self.open.len() as u64, &self.starts);
        let record = BaseRecord::<[u8], [u8]>::to(progress).key(id.as_bytes()).payload(note.as_bytes());
        self.producer.send(record).map_err(|(error, _)| error)?;
        let begun = Instant::now();
        while self.producer.in_flight_count() > 0 && begun.elapsed() < TRANSACTION_STEP && !self.state.is_stopping() {
            // What is not there in time shows at the commit.
            self.serve();
        }
        loop {
            match self.producer.commit_transaction(TRANSACTION_STEP) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !self.state.is_stopping() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives up the open transaction.
    fn give_up(&mut self) -> Result<()> {
        (self.begun, self.is_torn) = (false, false);
        self.producer.context().failure.lock().take();
        loop {
            match self.producer.abort_transaction(TRANSACTION_STEP) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if let Some(fatal) = self.is_fatal() {
                        return Err(fatal);
                    }
                    if self.state.is_stopping() {
                        return Err(stopping());
                    }
                    // Nothing to give up: the transaction had not begun at the broker.
                    if matches!(&error, KafkaError::Transaction(error) if !error.is_retriable()) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The error after which this producer can do nothing any more.
    fn is_fatal(&self) -> Option<SqlError> {
        let (code, reason) = self.producer.client().fatal_error()?;
        let message = format!("Kafka topic \"{}\" cannot be written any more: {reason}", self.connection.topic);
        let fenced = matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::InvalidProducerEpoch);
        let error = SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
        Some(if fenced { error.with_detail("Another process has taken over the sink.") } else { error })
    }

    /// Hands a record to the client, waiting while its queue is full.
    fn enqueue(&self, record: &OutRecord) -> Result<()> {
        loop {
            match self.enqueue_once(record) {
                Ok(()) => return Ok(()),
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {
                    self.producer.poll(STEP);
                    self.check()?;
                }
                Err(error) => return Err(self.refused(&error, record)),
            }
        }
    }

    fn enqueue_once(&self, record: &OutRecord) -> std::result::Result<(), KafkaError> {
        let mut out = BaseRecord::<[u8], [u8]>::to(record.topic.as_deref().unwrap_or(&self.connection.topic));
        (out.key, out.payload) = (record.key.as_deref(), record.value.as_deref());
        (out.partition, out.timestamp) = (record.partition, record.timestamp);
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let add = |all: OwnedHeaders, (key, value): &(String, Option<String>)| {
                all.insert(Header { key, value: value.as_deref() })
            };
            out.headers = Some(record.headers.iter().fold(headers, add));
        }
        loop {
            match self.producer.send(out) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    out = again;
                    self.producer.poll(STEP);
                    if self.state.is_stopping() {
                        return Err(KafkaError::Canceled);
                    }
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn refused(&self, error: &KafkaError, record: &OutRecord) -> SqlError {
        let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let shown: String = key.chars().take(200).collect();
        self.connection.error("write", error).with_detail(format!("The record's key is {shown}."))
    }

    /// Waits a moment for answers of brokers. The client's flush alone would not do: once all records are acknowledged it
    /// returns without a look at the reports that say so, which count as records on their way until they are seen.
    fn serve(&self) {
        if self.producer.flush(ACKNOWLEDGEMENT).is_ok() {
            self.producer.poll(ACKNOWLEDGEMENT);
        }
    }

    /// Waits until every record has been taken by a broker.
    fn drain(&self) -> Result<()> {
        let begun = Instant::now();
        while self.producer.in_flight_count() > 0 {
            self.serve();
            self.check()?;
            let trouble = self.producer.context().trouble.lock().clone();
            if begun.elapsed() > Duration::from_secs(1) && self.producer.in_flight_count() > 0 {
                let reason = trouble.unwrap_or_else(|| "no broker takes the records".to_owned());
                let message = format!("could not write Kafka topic \"{}\": {reason}", self.connection.topic);
                self.state.set_trouble(Some(SqlError::new(SqlState::CONNECTION_FAILURE, message)));
            }
        }
        self.state.set_trouble(None);
        self.check()
    }

    fn check(&self) -> Result<()> {
        if let Some(error) = self.producer.context().failure.lock().take() {
            return Err(self.connection.error("write", &error));
        }
        match self.state.is_stopping() && self.producer.in_flight_count() > 0 {
            true => Err(stopping()),
            false => Ok(()),
        }
    }
}

/// Tries until it works, fails for good, or the server ends.
fn patiently<T>(connection: &Connection, state: &SinkState, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match attempt() {
            Err(error) if error.state().is_connection() && !state.is_stopping() => {
                tracing::debug!(topic = connection.topic, %error, "sink waits");
                state.set_trouble(Some(error));
                std::thread::sleep(STEP);
            }
            done => {
                state.set_trouble(None);
                return done;
            }
        }
    }
}
