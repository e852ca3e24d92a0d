//! Avro: records whose bytes say nothing without their schema.
//!
//! ```text
//!   bytes -- frame --> schema of the writer --> plan: which field is which column --> tokens --> Rows
//!                           ^
//!   registry (by id), or the one schema of the statement
//! ```
//!
//! A column means the writer's field of its name, else the one that differs in case only, else one of an alias that the
//! schema of the statement gives it. What a writer does not have is the default that this schema gives, or null.

mod encode;
mod reader;
mod schema;

pub(crate) use encode::{AvroEncoder, schema_of_changes, schema_of_columns, write_change};
pub(crate) use schema::AvroSchema;

use super::cell::Cell;
use super::{Block, RecordFormat};
use crate::registry::{Registry, unframed};
use crate::value::{Epoch, Token};
use arrow::datatypes::SchemaRef;
use millrace_types::Result;
use reader::{Reader, default_token};
use schema::Id;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// What the records of a topic are written by.
#[derive(Clone, Debug)]
pub(crate) struct AvroFormat {
    /// The schema that the statement has, or that the registry had when it was made.
    pub schema: Option<Arc<AvroSchema>>,
    /// Where the schemas are by which records say that they are written; without it, all are written by `schema`.
    pub registry: Option<Arc<Registry>>,
}

/// Which record of a value is the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// The value itself.
    Whole,
    /// That before a change, in a Debezium envelope.
    Before,
    /// That after a change.
    After,
}

impl Row {
    fn fields(self, schema: &AvroSchema) -> Option<&[schema::Field]> {
        match self {
            Row::Whole => Some(schema.fields()),
            Row::Before => schema.fields_in("before"),
            Row::After => schema.fields_in("after"),
        }
    }
}

/// Decodes Avro records into columns.
pub(crate) struct AvroDecoder {
    format: AvroFormat,
    row: Row,
    columns: Vec<(String, Cell)>,
    /// How records of each schema become rows, or why they cannot.
    plans: HashMap<u32, std::result::Result<Plan, String>>,
}

/// How the records of a writer become rows.
struct Plan {
    schema: Arc<AvroSchema>,
    /// For each field the columns that want it.
    fields: Vec<(Id, Vec<usize>)>,
    /// Columns whose field the writer does not have, with its default.
    defaults: Vec<(usize, Id, serde_json::Value)>,
}

/// Stands for the one schema of records that do not name theirs.
const UNNAMED: u32 = u32::MAX;

impl AvroDecoder {
    pub fn new(format: &AvroFormat, row: Row, schema: &SchemaRef, epoch: Epoch) -> AvroDecoder {
        let cell = |field: &Arc<arrow::datatypes::Field>| (field.name().clone(), Cell::new(field, epoch));
        let columns: Vec<_> = schema.fields().iter().map(cell).collect();
        let mut decoder = AvroDecoder { format: format.clone(), row, columns, plans: HashMap::new() };
        if let (Some(schema), None) = (&format.schema, &format.registry) {
            decoder.plans.insert(UNNAMED, decoder.plan(schema.clone()));
        }
        decoder
    }

    fn plan(&self, writer: Arc<AvroSchema>) -> std::result::Result<Plan, String> {
        let theirs = self.row.fields(&writer).ok_or("the schema is none of a Debezium envelope")?;
        let known = self.format.schema.as_ref().and_then(|schema| self.row.fields(schema)).unwrap_or_default();
        let fields = theirs.iter().map(|field| (field.node, vec![])).collect();
        let mut plan = Plan { fields, defaults: vec![], schema: writer.clone() };
        for (column, (name, _)) in self.columns.iter().enumerate() {
            let known = position(known, name).map(|place| &known[place]);
            let names = std::iter::once(name).chain(known.iter().flat_map(|field| &field.aliases));
            let found = match theirs {
                [only] if only.name.is_empty() => (self.columns.len() == 1).then_some(0),
                fields => names.into_iter().find_map(|name| position(fields, name)),
            };
            match (found, known.and_then(|field| Some((field.node, field.default.clone()?)))) {
                (Some(field), _) => plan.fields[field].1.push(column),
                (None, Some((node, default))) => plan.defaults.push((column, node, default)),
                (None, None) => {}
            }
        }
        Ok(plan)
    }

    /// The plan of a record, and where its bytes begin.
    fn plan_of(&self, block: &Block, span: &Range<usize>) -> std::result::Result<(&Plan, usize), String> {
        let frame = self.frame(&block.bytes()[span.clone()]);
        let (id, at) = frame.ok_or("the value does not begin with the id of a schema")?;
        match self.plans.get(&id) {
            Some(plan) => Ok((plan.as_ref().map_err(Clone::clone)?, span.start + at)),
            None => Err(format!("schema {id} is not known")),
        }
    }

    /// The schema by which a record is written, and where its bytes begin.
    fn frame(&self, bytes: &[u8]) -> Option<(u32, usize)> {
        match self.format.registry {
            Some(_) => unframed(bytes).map(|(id, rest)| (id, bytes.len() - rest.len())),
            None => Some((UNNAMED, 0)),
        }
    }
}

/// The field of a name, else of one that differs in case only.
fn position(fields: &[schema::Field], name: &str) -> Option<usize> {
    let exactly = fields.iter().position(|field| field.name == name);
    exactly.or_else(|| fields.iter().position(|field| field.name.eq_ignore_ascii_case(name)))
}

impl RecordFormat for AvroDecoder {
    fn prepare(&mut self, bytes: &[u8]) -> Result<()> {
        let (Some((id, _)), Some(registry)) = (self.frame(bytes), &self.format.registry) else { return Ok(()) };
        if !self.plans.contains_key(&id) {
            let parsed = match registry.by_id(id)? {
                Some(found) => found.avro().map_err(|error| error.message().to_owned()),
                None => Err(format!("the schema registry has no schema {id}")),
            };
            let plan = parsed.and_then(|schema| self.plan(schema));
            self.plans.insert(id, plan);
        }
        Ok(())
    }

    fn fill(
        &mut self,
        block: &Block,
        span: Range<usize>,
        row: &mut [Token],
        extra: &mut Vec<u8>,
    ) -> std::result::Result<(), String> {
        let (plan, at) = self.plan_of(block, &span)?;
        let mut reader = Reader { schema: &plan.schema, bytes: block.bytes(), at, end: span.end };
        let rows = self.row.fields(&plan.schema).unwrap_or_default();
        match self.row {
            Row::Whole => {}
            Row::Before => reader.at = opened(&mut reader)?.before.ok_or("the change has no row before it")?,
            Row::After => reader.at = opened(&mut reader)?.after.ok_or("the change has no row after it")?,
        }
        for (field, (node, columns)) in plan.fields.iter().enumerate() {
            let begin = reader.at;
            let named = |reason| format!("field \"{}\": {reason}", rows[field].name);
            if columns.is_empty() {
                reader.skip(*node, 0).map_err(named)?;
            }
            for column in columns {
                reader.at = begin;
                row[*column] = reader.token(*node, &self.columns[*column].1, extra).map_err(named)?;
            }
        }
        for (column, node, default) in &plan.defaults {
            let Some(known) = &self.format.schema else { break };
            row[*column] = default_token(default, known.node(*node), &self.columns[*column].1, extra);
        }
        if self.row == Row::Whole { ended(&reader) } else { Ok(()) }
    }

    fn is_deletion(&mut self, block: &Block, span: Range<usize>) -> std::result::Result<bool, String> {
        let (plan, at) = self.plan_of(block, &span)?;
        match &opened(&mut Reader { schema: &plan.schema, bytes: block.bytes(), at, end: span.end })?.operation[..] {
            "c" | "r" | "u" => Ok(false),
            "d" => Ok(true),
            other => Err(format!("unknown Debezium operation \"{other}\"")),
        }
    }
}

/// What a Debezium envelope holds, and where.
#[derive(Default)]
struct Opened {
    operation: String,
    before: Option<usize>,
    after: Option<usize>,
}

/// Reads a Debezium envelope to its end.
fn opened(reader: &mut Reader<'_>) -> std::result::Result<Opened, String> {
    let (mut found, schema) = (Opened::default(), reader.schema);
    for field in schema.fields() {
        let named = |reason| format!("field \"{}\": {reason}", field.name);
        match &field.name[..] {
            "op" => found.operation = reader.word(field.node).map_err(named)?,
            "before" => found.before = reader.pass(field.node).map_err(named)?,
            "after" => found.after = reader.pass(field.node).map_err(named)?,
            _ => reader.skip(field.node, 0).map_err(named)?,
        }
    }
    ended(reader).map(|()| found)
}

/// The bytes of the row after a change, in a Debezium envelope by this schema; `None` when there is none.
pub(crate) fn after_of<'a>(schema: &AvroSchema, envelope: &'a [u8]) -> Option<&'a [u8]> {
    let mut reader = Reader { schema, bytes: envelope, at: 0, end: envelope.len() };
    for field in schema.fields() {
        if field.name == "after" {
            let start = reader.pass(field.node).ok()??;
            return Some(&envelope[start..reader.at]);
        }
        reader.skip(field.node, 0).ok()?;
    }
    None
}

fn ended(reader: &Reader<'_>) -> std::result::Result<(), String> {
    match reader.end - reader.at {
        0 => Ok(()),
        more => Err(format!("{more} bytes follow the record")),
    }
}

#[cfg(test)]
mod tests;
