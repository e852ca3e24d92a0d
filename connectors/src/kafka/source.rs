//! The source: its options, its partitions, and readers of them.

use super::connection::{Connection, PROPERTIES, SERVERS};
use super::consumer::{Mirror, SharedConsumer};
use super::decode::{Decoder, Encoding, Layout, OnError};
use super::envelope::Envelope;
use super::metadata::{self, HEADERS, KEY, OFFSET, PARTITION, TIMESTAMP};
use super::reader::PartitionReader;
use super::schema::{self, IMPORTS, MESSAGE, SCHEMA, Written};
use super::start::{SETTLED, Start};
use crate::format::csv::Dialect;
use crate::options::{DELIMITER, NULL, OptionInfo, OptionKind, Options, QUOTE, TIMESTAMP_FORMAT};
use crate::registry;
use crate::source::{Source, Split, SplitReader};
use crate::value::{Epoch, Token};
use arrow::datatypes::SchemaRef;
use millrace_types::{Offset, Result, SqlError, SqlState, SqlType, sql_type_of};
use parking_lot::Mutex;
use rdkafka::consumer::BaseConsumer;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long what is known of the partitions is good for.
const KNOWN: Duration = Duration::from_secs(5);

/// The options of a Kafka source.
pub static SOURCE_OPTIONS: &[OptionInfo] = &[
    OptionInfo::new("topic", OptionKind::Text, "The topic to read; each partition is a split.").required(),
    OptionInfo::new(SERVERS, OptionKind::Text, "The brokers to ask first, as host:port,host:port.")
        .aliases(&["properties.bootstrap.servers"])
        .required(),
    OptionInfo::new(PROPERTIES, OptionKind::Text, "Any property of the client (librdkafka), as TLS and SASL."),
    OptionInfo::new("scan.startup.mode", OptionKind::OneOf(MODES), "Where to begin.").default("earliest"),
    OptionInfo::new(
        "scan.startup.timestamp.millis",
        OptionKind::Integer(0),
        "For the mode timestamp: the first records not older than this, in milliseconds since 1970.",
    )
    .aliases(&["scan.startup.timestamp-millis"]),
    OptionInfo::new(
        "scan.startup.specific-offsets",
        OptionKind::Text,
        "For the mode specific-offsets: partition:0,offset:42;partition:1,offset:7.",
    ),
    OptionInfo::new(SETTLED, OptionKind::Text, "Where each partition begins; found out when the source is made."),
    SCHEMA,
    IMPORTS,
    MESSAGE,
    registry::URL,
    registry::USER,
    registry::PASSWORD,
    OptionInfo::new("format", OptionKind::OneOf(FORMATS), "How values are encoded (ENCODE).").default("json"),
    OptionInfo::new(
        "envelope",
        OptionKind::OneOf(&["plain", "upsert", "debezium"]),
        "What values say (FORMAT): rows, the rows of keys, or changes.",
    )
    .default("plain"),
    KEY,
    PARTITION,
    OFFSET,
    TIMESTAMP,
    HEADERS,
    OptionInfo::new(
        "on_error",
        OptionKind::OneOf(&["dead_letter", "fail", "null"]),
        "What becomes of records that cannot be decoded.",
    )
    .default("dead_letter"),
    OptionInfo::new(
        "on_gap",
        OptionKind::OneOf(&["fail", "skip"]),
        "What happens when records that are still to be read have been deleted.",
    )
    .default("fail"),
    OptionInfo::new("max.record.bytes", OptionKind::Integer(1), "Longer values are bad records.").default("104857600"),
    TIMESTAMP_FORMAT,
    DELIMITER,
    QUOTE,
    NULL,
];

const MODES: &[&str] = &["earliest", "latest", "timestamp", "specific-offsets", "earliest-offset", "latest-offset"];
const FORMATS: &[&str] = &["json", "csv", "avro", "protobuf", "text", "bytes"];

/// A topic as a source. Those made by [`Source::for_one_thread`] share one connection among their readers.
struct KafkaSource {
    connection: Connection,
    start: Start,
    layout: Layout,
    skip_gaps: bool,
    /// For questions about the topic.
    inquirer: OnceLock<BaseConsumer>,
    /// How many partitions there are, and since when that is known.
    partitions: Mutex<Option<(u32, Instant)>>,
    /// How far it is read, if the options name a group that is to show it.
    mirror: Option<Arc<Mutex<Mirror>>>,
    /// The connection of the readers of one thread.
    shared: Option<OnceLock<Arc<SharedConsumer>>>,
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaSource({})", self.connection.topic)
    }
}

/// Asks the cluster where reading begins, checks that the topic is there, and takes its schema from the registry.
pub(crate) fn settle(options: &Options) -> Result<Vec<(String, String)>> {
    let mut found = schema::settle(options)?;
    if !options.is_given(SETTLED) {
        found.push((SETTLED.to_owned(), Start::settle(options, &Connection::new(options)?)?));
    }
    Ok(found)
}

/// A source without a word to the cluster: it may be away when the server starts.
pub(crate) fn create_source(options: &Options, schema: &SchemaRef) -> Result<(SchemaRef, Arc<dyn Source>)> {
    let layout = layout(options, schema)?;
    if layout.envelope != Envelope::Plain {
        return Err(SqlError::unsupported("FORMAT UPSERT and DEBEZIUM of a source, which only ever adds rows")
            .with_hint("CREATE TABLE ... (PRIMARY KEY ...) WITH (connector = 'kafka', ...) keeps the rows by key."));
    }
    source(options, layout)
}

/// What feeds a table of which `key` is the primary key.
pub(crate) fn create_feed(
    options: &Options,
    schema: &SchemaRef,
    key: &[usize],
) -> Result<(SchemaRef, Arc<dyn Source>)> {
    let mut layout = layout(options, schema)?;
    if layout.envelope != Envelope::Plain && key.is_empty() {
        let message = "FORMAT UPSERT and DEBEZIUM need a table with a primary key";
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    layout.key = key.to_vec();
    source(options, layout)
}

fn source(options: &Options, layout: Layout) -> Result<(SchemaRef, Arc<dyn Source>)> {
    let connection = Connection::new(options)?;
    let source = KafkaSource {
        mirror: connection.has_group().then(Arc::default),
        connection,
        start: Start::settled(options)?,
        skip_gaps: options.text("on_gap").as_deref() == Some("skip"),
        inquirer: OnceLock::new(),
        partitions: Mutex::default(),
        shared: None,
        layout,
    };
    Ok((source.layout.schema.clone(), Arc::new(source)))
}

fn layout(options: &Options, schema: &SchemaRef) -> Result<Layout> {
    let written = Written::of(options)?;
    let own = written.as_ref().filter(|_| schema.fields().is_empty()).map(Written::columns).transpose()?;
    let (schema, metadata) = metadata::columns(options, own.as_ref().unwrap_or(schema))?;
    let values: Vec<_> =
        schema.fields().iter().zip(&metadata).filter(|(_, what)| what.is_none()).map(|(field, _)| field).collect();
    let definition = |message: &str| Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    let format = options.text("format").unwrap_or_default();
    let encoding = match &format[..] {
        _ if values.is_empty() => return definition("a Kafka source needs a list of columns, or a schema"),
        "avro" | "protobuf" => match written {
            Some(Written::Avro(format)) => Encoding::Avro(format),
            Some(Written::Protobuf(format)) => Encoding::Protobuf(format),
            None => return definition("ENCODE AVRO and PROTOBUF need the option \"schema\" or \"schema.registry\""),
        },
        "text" | "bytes" => {
            let fits = |field: &arrow::datatypes::Field| matches!(sql_type_of(field), SqlType::Bytea | SqlType::Text);
            match &values[..] {
                [field] if fits(field) => Encoding::Plain,
                _ => return definition("ENCODE BYTES and TEXT need one column of type bytea or text for the value"),
            }
        }
        "csv" => Encoding::Csv(Dialect {
            delimiter: options.character("delimiter").unwrap_or(b','),
            quote: options.character("quote").unwrap_or(b'"'),
            header: false,
            null: options.text("null").unwrap_or_default().into_bytes(),
        }),
        _ => Encoding::Json,
    };
    let envelope = Envelope::of_word(options.text("envelope").as_deref());
    let fits = match (envelope, &encoding) {
        (Envelope::Plain, _) | (_, Encoding::Json) => true,
        (Envelope::Upsert, encoding) => matches!(encoding, Encoding::Avro(_) | Encoding::Protobuf(_)),
        (Envelope::Debezium, encoding) => matches!(encoding, Encoding::Avro(_)),
    };
    if !fits {
        let (envelope, format) = (options.text("envelope").unwrap_or_default(), format);
        let what = format!("FORMAT {} with ENCODE {}", envelope.to_uppercase(), format.to_uppercase());
        return Err(SqlError::unsupported(what));
    }
    let epoch = match options.text("timestamp.format").as_deref() {
        Some("epoch_s") => Epoch::Seconds,
        Some("epoch_us") => Epoch::Microseconds,
        Some("epoch_ns") => Epoch::Nanoseconds,
        _ => Epoch::Milliseconds,
    };
    let on_error = match options.text("on_error").as_deref() {
        Some("fail") => OnError::Fail,
        Some("null") => OnError::Null,
        _ => OnError::DeadLetter,
    };
    let max_record = options.integer("max.record.bytes").map_or(Token::MAX_LENGTH, |bytes| bytes as usize);
    let max_record = max_record.min(Token::MAX_LENGTH);
    Ok(Layout { schema, metadata, key: vec![], envelope, encoding, epoch, on_error, max_record })
}

impl KafkaSource {
    fn inquirer(&self) -> Result<&BaseConsumer> {
        if let Some(client) = self.inquirer.get() {
            return Ok(client);
        }
        let client = self.connection.inquirer()?;
        Ok(self.inquirer.get_or_init(|| client))
    }

    fn consumer(&self) -> Result<Arc<SharedConsumer>> {
        let wanted = metadata::wanted(&self.layout.metadata, self.layout.envelope);
        // What is read for a single query does not count.
        let mirror = self.shared.as_ref().and(self.mirror.as_ref());
        let new = || SharedConsumer::new(&self.connection, wanted, self.skip_gaps, mirror.cloned()).map(Arc::new);
        match &self.shared {
            None => new(),
            Some(shared) => match shared.get() {
                Some(consumer) => Ok(consumer.clone()),
                None => new().map(|consumer| shared.get_or_init(|| consumer).clone()),
            },
        }
    }
}

impl Source for KafkaSource {
    fn splits(&self) -> Result<Vec<Split>> {
        let known = *self.partitions.lock();
        let count = match known {
            Some((count, at)) if at.elapsed() < KNOWN => count,
            _ => {
                let count = self.connection.partitions(self.inquirer()?)?;
                // Kafka never takes a partition back; a topic made anew with fewer keeps the old ones' places.
                let count = count.max(known.map_or(0, |(count, _)| count));
                *self.partitions.lock() = Some((count, Instant::now()));
                count
            }
        };
        Ok((0..count).map(|id| Split { id, name: format!("{}-{id}", self.connection.topic) }).collect())
    }

    fn open(&self, split: &Split, from: Offset, columns: &[usize]) -> Result<Box<dyn SplitReader>> {
        let from = from.0.max(self.start.of(split.id));
        let decoder = Decoder::new(&self.layout, split.id, columns)?;
        let reader = PartitionReader::new(self.consumer()?, split.id, from, decoder, self.layout.on_error)?;
        Ok(Box::new(reader))
    }

    fn for_one_thread(&self) -> Option<Arc<dyn Source>> {
        Some(Arc::new(KafkaSource {
            connection: self.connection.clone(),
            start: self.start.clone(),
            layout: self.layout.clone(),
            skip_gaps: self.skip_gaps,
            mirror: self.mirror.clone(),
            inquirer: OnceLock::new(),
            partitions: Mutex::new(*self.partitions.lock()),
            shared: Some(OnceLock::new()),
        }))
    }

    fn is_bounded(&self) -> bool {
        false
    }
}
