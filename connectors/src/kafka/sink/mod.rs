//! A topic as a sink.
//!
//! ```text
//!   deltas --encode--> records --resume--> those that are not there yet --producer--> topic
//! ```
//!
//! The topic itself holds the sink's progress: when a sink starts, it reads back what it has delivered, and sends only
//! what is missing or has changed since. If its rows are only added, a checkpoint says up to where all that was handed to
//! it is delivered, and it reads back only what came after. With `delivery = 'exactly_once'` ticks are sent in
//! transactions, each with a record in the progress topic, under an identity that fences an older process; so a reader of
//! committed records sees each change once, and ticks as a whole.

mod encode;
mod position;
mod producer;
mod progress;
mod resume;
mod writer;

use super::connection::{Connection, PROPERTIES, SERVERS};
use super::envelope::Envelope;
use super::start::{SETTLED, Start};
use crate::options::{OptionInfo, OptionKind, Options};
use crate::registry;
use crate::sink::{Sink, SinkState};
use arrow::datatypes::SchemaRef;
use encode::{Columns, Encoder};
use millrace_types::{Delta, Result, SqlError, SqlState, Tick};
use position::{Position, Starts, advanced};
use producer::{Delivery, Outlet};
use resume::{Content, Resume};
use std::sync::Arc;
use std::time::Duration;

/// The options of a Kafka sink.
pub static SINK_OPTIONS: &[OptionInfo] = &[
    OptionInfo::new("topic", OptionKind::Text, "The topic to write; it must be there.").required(),
    OptionInfo::new(SERVERS, OptionKind::Text, "The brokers to ask first, as host:port,host:port.")
        .aliases(&["properties.bootstrap.servers"])
        .required(),
    OptionInfo::new(PROPERTIES, OptionKind::Text, "Any property of the client (librdkafka), as TLS and SASL."),
    OptionInfo::new(
        "format",
        OptionKind::OneOf(&["json", "avro", "protobuf", "text", "bytes"]),
        "How values and keys are encoded (ENCODE).",
    )
    .default("json"),
    registry::URL,
    registry::USER,
    registry::PASSWORD,
    writer::VALUE_ID,
    writer::KEY_ID,
    OptionInfo::new(
        "envelope",
        OptionKind::OneOf(&["plain", "upsert", "debezium"]),
        "What values say (FORMAT): rows that are added, the rows of keys, or changes.",
    )
    .default("plain"),
    OptionInfo::new("key", OptionKind::Text, "The columns of the key, separated by commas.").aliases(&["primary_key"]),
    OptionInfo::new(
        "topic.column",
        OptionKind::Text,
        "The column (text) that says the topic of each record; where it is null, the option topic does.",
    ),
    OptionInfo::new("headers", OptionKind::Text, "The column (jsonb) that holds the headers."),
    OptionInfo::new("partition", OptionKind::Text, "The column (int) that says the partition; else the key does."),
    OptionInfo::new("timestamp", OptionKind::Text, "The column (timestamptz or timestamp) that holds the timestamp."),
    OptionInfo::new(
        "delivery",
        OptionKind::OneOf(&["at_least_once", "exactly_once"]),
        "Whether a reader of committed records may see a change twice after a crash.",
    )
    .default("at_least_once"),
    OptionInfo::new("snapshot", OptionKind::OneOf(&["true"]), "Whether the rows that are there are sent first.")
        .default("true"),
    OptionInfo::new(
        "commit.interval.ms",
        OptionKind::Integer(1),
        "For exactly_once: how long ticks are collected into one transaction.",
    )
    .default("100"),
    OptionInfo::new(
        "progress.topic",
        OptionKind::Text,
        "For exactly_once: the compacted topic that holds the progress.",
    )
    .default("millrace-progress"),
    OptionInfo::new("transactional.id", OptionKind::Text, "For exactly_once: who the sink is; made up if not given."),
    OptionInfo::new(SETTLED, OptionKind::Text, "Where the sink's records begin; found out when it is made."),
];

/// Notes where the topic ends now, gives the sink a name, and adds its schemas to the registry.
pub(crate) fn settle(options: &Options, schema: &SchemaRef) -> Result<Vec<(String, String)>> {
    let mut found = Columns::register(options, schema)?;
    if !options.is_given(SETTLED) {
        found.push((SETTLED.to_owned(), Start::ends(&Connection::new(options)?)?.text()));
    }
    if !options.is_given("transactional.id") {
        found.push(("transactional.id".to_owned(), format!("millrace-{}", uuid::Uuid::new_v4())));
    }
    Ok(found)
}

/// Whether the sink can be told that rows are taken back.
pub(crate) fn takes_changes(options: &Options) -> bool {
    Envelope::of_word(options.text("envelope").as_deref()) != Envelope::Plain
}

/// A sink without a word to the cluster: it may be away when the server starts.
pub(crate) fn create_sink(options: &Options, schema: &SchemaRef) -> Result<Box<dyn Sink>> {
    let connection = Connection::new(options)?;
    let encoder = Encoder::new(options, schema)?;
    let exactly_once = options.text("delivery").as_deref() == Some("exactly_once");
    let delivery = match exactly_once {
        false => Delivery::AtLeastOnce,
        true => Delivery::ExactlyOnce {
            id: options.text("transactional.id").unwrap_or_default(),
            progress: options.text("progress.topic").unwrap_or_default(),
        },
    };
    if exactly_once && !options.is_given("transactional.id") {
        let message = "an exactly-once sink without a transactional.id";
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let starts = Starts::from([(connection.topic.clone(), Start::settled(options)?)]);
    let linger = Duration::from_millis(options.integer("commit.interval.ms").map_or(100, |millis| millis as u64));
    Ok(Box::new(KafkaSink {
        linger: if exactly_once { linger } else { Duration::ZERO },
        position: Position { starts, ..Position::default() },
        goes_on: false,
        envelope: encoder.envelope(),
        encoder,
        connection,
        delivery,
        state: Arc::default(),
        outlet: None,
        resume: None,
    }))
}

struct KafkaSink {
    connection: Connection,
    delivery: Delivery,
    linger: Duration,
    /// Where it began.
    position: Position,
    /// Whether the rows that it is handed begin there, too.
    goes_on: bool,
    envelope: Envelope,
    encoder: Encoder,
    state: Arc<SinkState>,
    /// The producer, once there is one.
    outlet: Option<Outlet>,
    /// What was delivered before the server started, until the rows are as far again.
    resume: Option<Resume>,
}

impl KafkaSink {
    /// Connects, and reads back what was delivered before.
    fn connect(&mut self) -> Result<()> {
        if self.outlet.is_some() {
            return Ok(());
        }
        // First the producer: from then on no older process delivers anything, and what it left open is given up.
        let outlet = Outlet::open(&self.connection, &self.delivery, self.state.clone())?;
        for (topic, start) in outlet.known().iter().flat_map(|known| &known.starts) {
            self.position.starts.entry(topic.clone()).or_insert_with(|| start.clone());
        }
        let content = Content::read(&self.connection, &self.position.starts, &self.encoder, &self.state)?;
        let found = self.position.committed + content.records();
        if let Some(known) = outlet.known().filter(|known| found < known.records)
            && self.envelope == Envelope::Plain
        {
            let message = format!("Kafka topic \"{}\" holds less than was delivered", self.connection.topic);
            let detail = format!("It holds {found} of {} records.", known.records);
            return Err(SqlError::new(SqlState::DATA_CORRUPTED, message).with_detail(detail).with_hint(
                "The sink cannot tell what is missing. Drop it and create it again to write everything anew.",
            ));
        }
        let from = self.goes_on.then_some(&self.position);
        self.resume = Some(Resume::new(self.envelope, &self.connection.topic, content, from));
        self.outlet = Some(outlet);
        Ok(())
    }
}

impl Sink for KafkaSink {
    fn begin(&mut self, position: Option<&str>) -> Result<()> {
        if let Some(position) = position {
            (self.position, self.goes_on) = (Position::parse(position)?, true);
        }
        Ok(())
    }

    fn position(&self) -> Option<String> {
        let Some(outlet) = &self.outlet else { return Some(self.position.text()) };
        let ((committed, sent), starts) = (outlet.reached(), &self.position.starts);
        let (starts, ahead) = match &self.resume {
            Some(resume) => (advanced(starts, resume.ends()), resume.ahead()?),
            None => (starts.clone(), vec![]),
        };
        Some(Position { starts: advanced(&starts, &sent), committed, ahead }.text())
    }

    fn write(&mut self, tick: Tick, deltas: &[Delta]) -> Result<()> {
        self.connect()?;
        let records = self.encoder.records(deltas)?;
        let records = match &mut self.resume {
            Some(resume) => resume.filter(&self.encoder, records),
            None => records,
        };
        let Some(outlet) = &mut self.outlet else { return Ok(()) };
        for topic in records.iter().filter_map(|record| record.topic.as_deref()) {
            if !self.position.starts.contains_key(topic) {
                self.position.starts.insert(topic.to_owned(), outlet.begin_topic(topic)?);
            }
        }
        outlet.send(tick, records)
    }

    fn flush(&mut self) -> Result<()> {
        self.outlet.as_mut().map_or(Ok(()), Outlet::flush)
    }

    fn accepts_retractions(&self) -> bool {
        self.envelope != Envelope::Plain
    }

    fn recovered(&mut self) -> Result<()> {
        self.connect()?;
        // A topic of rows that are only added stays compared: which of them come later than others is not known.
        if self.envelope == Envelope::Plain {
            return Ok(());
        }
        let Some(resume) = self.resume.take() else { return Ok(()) };
        self.position.starts = advanced(&self.position.starts, resume.ends());
        let missing = resume.difference(&self.encoder);
        match &mut self.outlet {
            Some(outlet) if !missing.is_empty() => {
                outlet.send(Tick::default(), missing)?;
                outlet.flush()
            }
            _ => Ok(()),
        }
    }

    fn linger(&self) -> Duration {
        self.linger
    }

    fn share(&mut self, state: Arc<SinkState>) {
        self.state = state;
    }
}
