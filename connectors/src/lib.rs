//! Connectors: the leg of the walk on which the outside world becomes rows, and rows become files again.
//!
//! A source has splits; a reader of a split yields chunks of rows with the offset after them; a record that cannot be
//! decoded is handed on beside the rows, never dropped and never in their way. A sink takes whole ticks. Connectors know
//! no engine: they are polled, and they are deterministic from an offset on, which is all that recovery needs.
//!
//! ```text
//!   options -> create_source -> Source -> open -> SplitReader -> Chunk { rows, bad, end }
//!                                                     |
//!        file: input -> Block -> format (json, csv) -> tokens -> value (columns) -> RecordBatch
//! ```
//!
//! To add a connector: a module with its list of options and its `create_source` or `create_sink`, and an entry in
//! [`CONNECTORS`].

#![cfg_attr(not(feature = "kafka"), allow(dead_code))]

mod blackhole;
mod datagen;
mod file;
mod format;
#[cfg(feature = "kafka")]
mod kafka;
mod mix;
pub mod nexmark;
pub mod options;
mod pace;
#[cfg(feature = "kafka")]
mod registry;
mod sink;
mod source;
mod value;

pub use blackhole::Blackhole;
pub use sink::{Sink, SinkState};
pub use source::{BadRecord, Chunk, Poll, Source, Split, SplitReader};

use arrow::datatypes::SchemaRef;
use millrace_types::{Result, SqlError, SqlState};
use options::{CONNECTOR, OptionInfo, Options, nearest};
use std::sync::Arc;

type CreateSource = fn(&Options, &SchemaRef) -> Result<(SchemaRef, Arc<dyn Source>)>;
type SettleSource = fn(&Options) -> Result<Vec<(String, String)>>;
type CreateFeed = fn(&Options, &SchemaRef, &[usize]) -> Result<(SchemaRef, Arc<dyn Source>)>;
type SettleSink = fn(&Options, &SchemaRef) -> Result<Vec<(String, String)>>;
type TakesChanges = fn(&Options) -> bool;
type CreateSink = fn(&Options, &SchemaRef) -> Result<Box<dyn Sink>>;

/// A connector: what it is called, what it can be, and which options it takes.
#[derive(Debug)]
pub struct ConnectorInfo {
    pub name: &'static str,
    /// A sentence for the manual.
    pub doc: &'static str,
    source: Option<(&'static [OptionInfo], CreateSource)>,
    /// Finds out what a source that is made now must remember.
    settle: Option<SettleSource>,
    /// Makes a source that feeds a table.
    feed: Option<CreateFeed>,
    /// What a sink that is made now must remember, and whether it can be told that rows are taken back; where its
    /// options do not say so by themselves.
    sink_facts: Option<(SettleSink, TakesChanges)>,
    sink: Option<(&'static [OptionInfo], CreateSink)>,
}

impl ConnectorInfo {
    /// Whether it can be a source.
    pub fn is_source(&self) -> bool {
        self.source.is_some()
    }

    /// Whether it can be a sink.
    pub fn is_sink(&self) -> bool {
        self.sink.is_some()
    }

    /// The options that it takes as a source.
    pub fn source_options(&self) -> &'static [OptionInfo] {
        self.source.map_or(&[], |(options, _)| options)
    }

    /// The options that it takes as a sink.
    pub fn sink_options(&self) -> &'static [OptionInfo] {
        self.sink.map_or(&[], |(options, _)| options)
    }
}

/// All connectors.
pub static CONNECTORS: &[&ConnectorInfo] = &[
    &ConnectorInfo {
        name: "file",
        doc: "Files of JSON lines, CSV or Parquet.",
        source: Some((file::SOURCE_OPTIONS, file::create_source)),
        settle: None,
        feed: None,
        sink_facts: None,
        sink: Some((file::SINK_OPTIONS, file::create_sink)),
    },
    #[cfg(feature = "kafka")]
    &ConnectorInfo {
        name: "kafka",
        doc: "Topics of Apache Kafka.",
        source: Some((kafka::SOURCE_OPTIONS, kafka::create_source)),
        settle: Some(kafka::settle),
        feed: Some(kafka::create_feed),
        sink_facts: Some((kafka::sink::settle, kafka::sink::takes_changes)),
        sink: Some((kafka::sink::SINK_OPTIONS, kafka::sink::create_sink)),
    },
    &ConnectorInfo {
        name: "nexmark",
        doc: "The events of the Nexmark benchmark.",
        source: Some((nexmark::OPTIONS, nexmark::create_source)),
        settle: None,
        feed: None,
        sink_facts: None,
        sink: None,
    },
    &ConnectorInfo {
        name: "datagen",
        doc: "Made-up rows: sequences and random values per column.",
        source: Some((datagen::OPTIONS, datagen::create_source)),
        settle: None,
        feed: None,
        sink_facts: None,
        sink: None,
    },
    &ConnectorInfo {
        name: "blackhole",
        doc: "Takes everything and keeps nothing.",
        source: None,
        settle: None,
        feed: None,
        sink_facts: None,
        sink: Some((blackhole::OPTIONS, blackhole::create_sink)),
    },
];

/// The source that the options of a statement describe, and its schema: `schema` if that has columns, else the
/// connector's own.
pub fn create_source(
    connector_options: &[(String, String)],
    schema: &SchemaRef,
) -> Result<(SchemaRef, Arc<dyn Source>)> {
    let info = connector(connector_options)?;
    let Some((infos, create)) = info.source else {
        return Err(SqlError::unsupported(format!("connector \"{}\" as a source", info.name)));
    };
    create(&Options::parse(info.name, infos, connector_options)?, schema)
}

/// Whether a table with these options is fed by its connector, and not a door to it.
pub fn feeds_tables(connector_options: &[(String, String)]) -> bool {
    connector(connector_options).is_ok_and(|info| info.feed.is_some())
}

/// What feeds a table with these options, and its columns: those of `schema`, with `key` among them the primary key.
pub fn create_feed(
    connector_options: &[(String, String)],
    schema: &SchemaRef,
    key: &[usize],
) -> Result<(SchemaRef, Arc<dyn Source>)> {
    let info = connector(connector_options)?;
    let (Some((infos, _)), Some(create)) = (info.source, info.feed) else {
        return Err(SqlError::unsupported(format!("a table that connector \"{}\" feeds", info.name)));
    };
    create(&Options::parse(info.name, infos, connector_options)?, schema, key)
}

/// The options of a source that is being made, with what it must remember of this moment. May ask the outside world.
pub fn settled(connector_options: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
    let info = connector(&connector_options)?;
    let (Some((infos, _)), Some(settle)) = (info.source, info.settle) else { return Ok(connector_options) };
    let found = settle(&Options::parse(info.name, infos, &connector_options)?)?;
    Ok(connector_options.into_iter().chain(found).collect())
}

/// The options of a sink of rows of `schema` that is being made, with what it must remember of this moment. May ask the
/// outside world.
pub fn settled_sink(connector_options: Vec<(String, String)>, schema: &SchemaRef) -> Result<Vec<(String, String)>> {
    let info = connector(&connector_options)?;
    let (Some((infos, _)), Some((settle, _))) = (info.sink, info.sink_facts) else { return Ok(connector_options) };
    let found = settle(&Options::parse(info.name, infos, &connector_options)?, schema)?;
    Ok(connector_options.into_iter().chain(found).collect())
}

/// Whether the sink that these options describe can be told that rows are taken back.
pub fn takes_changes(connector_options: &[(String, String)]) -> bool {
    let sink = connector(connector_options).ok().and_then(|info| Some((info, info.sink?.0)));
    let Some((info, infos)) = sink else { return false };
    Options::parse(info.name, infos, connector_options).is_ok_and(|options| accepts_changes(info, infos, &options))
}

fn accepts_changes(info: &ConnectorInfo, infos: &[OptionInfo], options: &Options) -> bool {
    match info.sink_facts {
        Some((_, takes_changes)) => takes_changes(options),
        None => !infos.iter().any(|option| option.name == "changes") || options.boolean("changes"),
    }
}

/// The sink that the options of a statement describe, for rows of `schema`. `append_only` says that no row of them is
/// ever taken back.
pub fn create_sink(
    connector_options: &[(String, String)],
    schema: &SchemaRef,
    append_only: bool,
) -> Result<Box<dyn Sink>> {
    let info = connector(connector_options)?;
    let Some((infos, create)) = info.sink else {
        return Err(SqlError::unsupported(format!("connector \"{}\" as a sink", info.name)));
    };
    let options = Options::parse(info.name, infos, connector_options)?;
    if !append_only && !accepts_changes(info, infos, &options) {
        let hint = match info.sink_facts {
            Some(_) => {
                "Use FORMAT UPSERT or FORMAT DEBEZIUM with a key, or a query that only adds rows: without aggregates, \
                 outer joins and changing tables."
            }
            None => "Add the option changes = 'true' to write insertions and retractions.",
        };
        return Err(SqlError::unsupported(format!(
            "a query whose rows change, into an append-only {} sink",
            info.name
        ))
        .with_hint(hint));
    }
    create(&options, schema)
}

fn connector(given: &[(String, String)]) -> Result<&'static ConnectorInfo> {
    let names = || CONNECTORS.iter().map(|info| info.name);
    let Some((_, name)) = given.iter().find(|(name, _)| name.eq_ignore_ascii_case(CONNECTOR)) else {
        let all: Vec<_> = names().collect();
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "the option \"connector\" is missing")
            .with_hint(format!("The connectors are {}.", all.join(", "))));
    };
    CONNECTORS.iter().find(|info| info.name.eq_ignore_ascii_case(name)).copied().ok_or_else(|| {
        let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unknown connector \"{name}\""));
        match nearest(name, names()) {
            Some(known) => error.with_hint(format!("Perhaps you meant \"{known}\".")),
            None => error.with_hint(format!("The connectors are {}.", names().collect::<Vec<_>>().join(", "))),
        }
    })
}
