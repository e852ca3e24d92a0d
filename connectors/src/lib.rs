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

mod blackhole;
mod datagen;
mod file;
mod format;
mod kafka;
mod mix;
pub mod nexmark;
pub mod options;
mod pace;
mod sink;
mod source;
mod value;

pub use blackhole::Blackhole;
pub use sink::Sink;
pub use source::{BadRecord, Chunk, Poll, Source, Split, SplitReader};

use arrow::datatypes::SchemaRef;
use millrace_types::{Result, SqlError, SqlState};
use options::{CONNECTOR, OptionInfo, Options, nearest};
use std::sync::Arc;

type CreateSource = fn(&Options, &SchemaRef) -> Result<(SchemaRef, Arc<dyn Source>)>;
type SettleSource = fn(&Options) -> Result<Option<(String, String)>>;
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
        sink: Some((file::SINK_OPTIONS, file::create_sink)),
    },
    &ConnectorInfo {
        name: "kafka",
        doc: "Topics of Apache Kafka.",
        source: Some((kafka::SOURCE_OPTIONS, kafka::create_source)),
        settle: Some(kafka::settle),
        sink: None,
    },
    &ConnectorInfo {
        name: "nexmark",
        doc: "The events of the Nexmark benchmark.",
        source: Some((nexmark::OPTIONS, nexmark::create_source)),
        settle: None,
        sink: None,
    },
    &ConnectorInfo {
        name: "datagen",
        doc: "Made-up rows: sequences and random values per column.",
        source: Some((datagen::OPTIONS, datagen::create_source)),
        settle: None,
        sink: None,
    },
    &ConnectorInfo {
        name: "blackhole",
        doc: "Takes everything and keeps nothing.",
        source: None,
        settle: None,
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

/// The options of a source that is being made, with what it must remember of this moment. May ask the outside world.
pub fn settled(connector_options: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
    let info = connector(&connector_options)?;
    let (Some((infos, _)), Some(settle)) = (info.source, info.settle) else { return Ok(connector_options) };
    let found = settle(&Options::parse(info.name, infos, &connector_options)?)?;
    Ok(connector_options.into_iter().chain(found).collect())
}

/// Whether the sink that these options describe can be told that rows are taken back.
pub fn takes_changes(connector_options: &[(String, String)]) -> bool {
    let sink = connector(connector_options).ok().and_then(|info| Some((info, info.sink?.0)));
    let Some((info, infos)) = sink else { return false };
    let switch = infos.iter().any(|option| option.name == "changes");
    !switch || Options::parse(info.name, infos, connector_options).is_ok_and(|options| options.boolean("changes"))
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
    let changes = infos.iter().any(|option| option.name == "changes");
    if !append_only && changes && !options.boolean("changes") {
        return Err(SqlError::unsupported(format!(
            "a query whose rows change, into an append-only {} sink",
            info.name
        ))
        .with_hint("Add the option changes = 'true' to write insertions and retractions."));
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
