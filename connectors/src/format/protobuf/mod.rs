//! Protobuf: messages whose fields are numbers without their schema.
//!
//! A column means the field of its name, else the one that differs in case only. A field that a message does not have is
//! null where the schema can tell, else its default (as a number in proto3 that is 0).

mod encode;
mod value;

pub(crate) use encode::{ProtobufEncoder, schema_of_columns};

use super::cell::Cell;
use super::{Block, RecordFormat};
use crate::registry::{Registry, unframed};
use crate::value::{Epoch, Token};
use arrow::datatypes::SchemaRef;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// What a schema without a name is called among those that it imports.
const FILE: &str = "schema.proto";

/// A `.proto` file with its messages.
#[derive(Debug)]
pub(crate) struct ProtobufFile {
    pool: DescriptorPool,
}

/// The files that a schema imports.
struct Imports(HashMap<String, String>);

impl FileResolver for Imports {
    fn open_file(&self, name: &str) -> std::result::Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn invalid(error: &dyn std::fmt::Display) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid Protobuf schema: {error}"))
}

impl ProtobufFile {
    /// Reads a schema, which may import others.
    ///
    /// # Errors
    /// `22023` when the text is no schema.
    pub fn parse(text: &str, others: &[(String, String)]) -> Result<ProtobufFile> {
        let mut files: HashMap<String, String> = others.iter().cloned().collect();
        files.insert(FILE.to_owned(), text.to_owned());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Imports(files));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.open_file(FILE).map_err(|error| invalid(&error))?;
        Ok(ProtobufFile { pool: compiler.descriptor_pool() })
    }

    /// The message of a name, or the first one.
    pub fn message(&self, name: Option<&str>) -> Result<MessageDescriptor> {
        let mut own = self.pool.get_file_by_name(FILE).into_iter().flat_map(|file| file.messages().collect::<Vec<_>>());
        match name {
            None => own.next().ok_or_else(|| invalid(&"it has no message")),
            Some(name) => self
                .pool
                .get_message_by_name(name)
                .or_else(|| own.find(|message| message.name() == name))
                .ok_or_else(|| invalid(&format!("it has no message \"{name}\""))),
        }
    }

    /// The message at a path: that of the file, then the one inside of it, and so on.
    fn at(&self, path: &[usize]) -> Option<MessageDescriptor> {
        let (first, inside) = path.split_first()?;
        let message = self.pool.get_file_by_name(FILE)?.messages().nth(*first)?;
        inside.iter().try_fold(message, |message, index| message.child_messages().nth(*index))
    }
}

/// The columns that the fields of a message are.
pub(crate) fn columns(message: &MessageDescriptor) -> Vec<(String, SqlType)> {
    message.fields().map(|field| (field.name().to_owned(), value::sql_type(&field))).collect()
}

/// What the records of a topic are written by.
#[derive(Clone, Debug)]
pub(crate) struct ProtobufFormat {
    /// The schema of the statement; without a registry it is that of all records.
    pub file: Option<Arc<ProtobufFile>>,
    /// Which message it is.
    pub message: Option<String>,
    pub registry: Option<Arc<Registry>>,
}

/// Decodes Protobuf messages into columns.
pub(crate) struct ProtobufDecoder {
    format: ProtobufFormat,
    columns: Vec<(String, Cell)>,
    /// How the messages of each schema become rows, or why they cannot.
    plans: HashMap<Which, std::result::Result<Plan, String>>,
}

/// A schema, and the path of a message in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Which {
    schema: u32,
    path: Vec<usize>,
}

struct Plan {
    message: MessageDescriptor,
    fields: Vec<(usize, FieldDescriptor)>,
}

impl ProtobufDecoder {
    pub fn new(format: &ProtobufFormat, schema: &SchemaRef, epoch: Epoch) -> Result<ProtobufDecoder> {
        let cell = |field: &Arc<arrow::datatypes::Field>| (field.name().clone(), Cell::new(field, epoch));
        let columns = schema.fields().iter().map(cell).collect();
        let mut decoder = ProtobufDecoder { format: format.clone(), columns, plans: HashMap::new() };
        if let (Some(file), None) = (&format.file, &format.registry) {
            let message = file.message(format.message.as_deref())?;
            decoder.plans.insert(Which::default(), Ok(decoder.plan(message)));
        }
        Ok(decoder)
    }

    fn plan(&self, message: MessageDescriptor) -> Plan {
        let find = |name: &str| {
            let other = || message.fields().find(|field| field.name().eq_ignore_ascii_case(name));
            message.get_field_by_name(name).or_else(other)
        };
        let fields = self.columns.iter().enumerate().filter_map(|(at, (name, _))| Some((at, find(name)?))).collect();
        Plan { fields, message }
    }

    /// By which schema a record is written, and its message.
    fn frame<'a>(&self, bytes: &'a [u8]) -> Option<(Which, &'a [u8])> {
        if self.format.registry.is_none() {
            return Some((Which::default(), bytes));
        }
        let (schema, mut rest) = unframed(bytes)?;
        let count = index(&mut rest)?;
        // No path stands for the first message.
        let path = match count {
            0 => vec![0],
            1..=16 => (0..count).map(|_| index(&mut rest)).collect::<Option<_>>()?,
            _ => return None,
        };
        Some((Which { schema, path }, rest))
    }
}

/// A number of a path: seven bits a byte, the lowest first, with the sign in the last bit.
fn index(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0usize;
    for shift in (0..28).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (number & 1 == 0).then_some(number >> 1);
        }
    }
    None
}

impl RecordFormat for ProtobufDecoder {
    fn prepare(&mut self, bytes: &[u8]) -> Result<()> {
        let (Some((which, _)), Some(registry)) = (self.frame(bytes), &self.format.registry) else { return Ok(()) };
        if !self.plans.contains_key(&which) {
            let message = match registry.by_id(which.schema)? {
                None => Err(format!("the schema registry has no schema {}", which.schema)),
                Some(found) => match found.protobuf() {
                    Ok(file) => {
                        file.at(&which.path).ok_or_else(|| format!("schema {} has no such message", which.schema))
                    }
                    Err(error) => Err(error.message().to_owned()),
                },
            };
            let plan = message.map(|message| self.plan(message));
            self.plans.insert(which, plan);
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
        let frame = self.frame(&block.bytes()[span]);
        let (which, bytes) = frame.ok_or("the value does not begin with the id of a schema")?;
        let plan = match self.plans.get(&which) {
            Some(plan) => plan.as_ref().map_err(Clone::clone)?,
            None => return Err(format!("schema {} is not known", which.schema)),
        };
        let message = DynamicMessage::decode(plan.message.clone(), bytes).map_err(|error| error.to_string())?;
        for (column, field) in &plan.fields {
            if field.supports_presence() && !message.has_field(field) {
                continue;
            }
            let value = message.get_field(field);
            let token = value::token(&value, field, &self.columns[*column].1, extra);
            row[*column] = token.map_err(|reason| format!("field \"{}\": {reason}", field.name()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
