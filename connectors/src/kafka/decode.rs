//! From records to rows: the values by their format, keys where they say which row is gone, and metadata beside.
//!
//! ```text
//!   record -- envelope --> put  --> rows ----+
//!                     \--> gone --> keys ----+--> in their order, with metadata columns --> Chunk
//!                     \--> bad
//! ```

use super::batch::{Batch, Record};
use super::envelope::{Change, Envelope, change};
use super::metadata::Metadata;
use crate::format::avro::{AvroDecoder, AvroFormat, Row};
use crate::format::csv::{Csv, Dialect};
use crate::format::json::{JsonLines, NOT_UTF8};
use crate::format::protobuf::{ProtobufDecoder, ProtobufFormat};
use crate::format::rows::batch as batch_of;
use crate::format::{Block, RecordFormat, Rows};
use crate::registry::unframed;
use crate::source::{BadRecord, Chunk};
use crate::value::{Epoch, Kind, Token};
use arrow::array::{ArrayRef, BinaryBuilder, RecordBatch, UInt64Array, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{Field, Schema, SchemaRef};
use millrace_types::{Offset, Result, SqlType, sql_type_of};
use std::ops::Range;
use std::sync::Arc;

/// How values are encoded.
#[derive(Clone, Debug)]
pub(super) enum Encoding {
    Json,
    Csv(Dialect),
    Avro(AvroFormat),
    Protobuf(ProtobufFormat),
    /// The value is one column, text or bytea.
    Plain,
}

/// What becomes of a record that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OnError {
    #[default]
    DeadLetter,
    Fail,
    Null,
}

/// How the records of a topic are read, all partitions alike.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// All columns.
    pub schema: SchemaRef,
    /// Which of them are metadata.
    pub metadata: Vec<Option<Metadata>>,
    /// Which of them are the key of the table that is fed.
    pub key: Vec<usize>,
    pub envelope: Envelope,
    pub encoding: Encoding,
    pub epoch: Epoch,
    pub on_error: OnError,
    pub max_record: usize,
}

impl Layout {
    /// How tokens count time: binary formats know what their numbers are.
    fn token_epoch(&self) -> Epoch {
        match self.encoding {
            Encoding::Avro(_) | Encoding::Protobuf(_) => Epoch::Microseconds,
            _ => self.epoch,
        }
    }

    fn format(&self, schema: &SchemaRef) -> Result<Option<Box<dyn RecordFormat>>> {
        Ok(match &self.encoding {
            Encoding::Avro(format) => {
                let row = if self.envelope == Envelope::Debezium { Row::After } else { Row::Whole };
                Some(Box::new(AvroDecoder::new(format, row, schema, self.epoch)))
            }
            Encoding::Protobuf(format) => Some(Box::new(ProtobufDecoder::new(format, schema, self.epoch)?)),
            Encoding::Json => Some(Box::new(JsonLines::new(schema, self.max_record))),
            Encoding::Csv(dialect) => {
                let payload: Vec<usize> =
                    (0..self.schema.fields().len()).filter(|c| self.metadata[*c].is_none()).collect();
                let all = Arc::new(Schema::new(
                    payload.iter().map(|column| self.schema.field(*column).clone()).collect::<Vec<_>>(),
                ));
                let wanted = schema.fields().iter().filter_map(|field| all.index_of(field.name()).ok());
                Some(Box::new(Csv::new(dialect.clone(), &all, &wanted.collect::<Vec<_>>(), self.max_record)))
            }
            Encoding::Plain => match schema.fields().first().map(|field| sql_type_of(field)) {
                Some(SqlType::Bytea) => None,
                _ => Some(Box::new(Text)),
            },
        })
    }

    /// How rows that are gone are decoded: by their keys, or as they were before.
    fn gone_format(&self, schema: &SchemaRef) -> Box<dyn RecordFormat> {
        match (&self.encoding, self.envelope) {
            (Encoding::Avro(format), Envelope::Debezium) => {
                Box::new(AvroDecoder::new(format, Row::Before, schema, self.epoch))
            }
            _ => Box::new(JsonLines::new(schema, self.max_record)),
        }
    }

    /// How keys are decoded that name the schema by which they are written.
    fn key_format(&self, schema: &SchemaRef) -> Result<Option<Box<dyn RecordFormat>>> {
        Ok(match &self.encoding {
            Encoding::Avro(AvroFormat { registry: Some(registry), .. }) => {
                let format = AvroFormat { schema: None, registry: Some(registry.clone()) };
                Some(Box::new(AvroDecoder::new(&format, Row::Whole, schema, self.epoch)))
            }
            Encoding::Protobuf(ProtobufFormat { registry: Some(registry), .. }) => {
                let format = ProtobufFormat { file: None, message: None, registry: Some(registry.clone()) };
                Some(Box::new(ProtobufDecoder::new(&format, schema, self.epoch)?))
            }
            _ => None,
        })
    }
}

/// Decodes the records of one partition.
pub(super) struct Decoder {
    layout: Layout,
    partition: u32,
    /// The columns wanted.
    schema: SchemaRef,
    /// What each of them is.
    slots: Vec<Slot>,
    /// Values; without a format they are taken as bytes.
    format: Option<Box<dyn RecordFormat>>,
    rows: Rows,
    /// The rows that are gone: only their keys, in JSON, or as their frame says.
    gone_format: Box<dyn RecordFormat>,
    key_format: Option<Box<dyn RecordFormat>>,
    gone: Rows,
    /// The place of a single key column, which a key that is no JSON object fills.
    single_key: bool,
}

/// Where a column comes from.
enum Slot {
    /// A column of the values; and of the keys.
    Value(usize, Option<usize>),
    Metadata(Metadata),
}

/// A record on its way: what became of it.
enum Place {
    Row,
    Gone,
    Bad,
}

impl Decoder {
    /// A decoder for these columns of the layout.
    pub fn new(layout: &Layout, partition: u32, columns: &[usize]) -> Result<Decoder> {
        let schema: SchemaRef = Arc::new(layout.schema.project(columns)?);
        let (mut values, mut keys, mut slots) = (vec![], vec![], vec![]);
        for column in columns {
            slots.push(match layout.metadata[*column] {
                Some(metadata) => Slot::Metadata(metadata),
                None => {
                    let field = layout.schema.field(*column).clone();
                    let key = layout.key.contains(column).then_some(keys.len());
                    keys.extend(key.map(|_| field.clone()));
                    values.push(field);
                    Slot::Value(values.len() - 1, key)
                }
            });
        }
        let single_key = keys.len() == 1;
        let (values, keys): (SchemaRef, SchemaRef) = (Arc::new(Schema::new(values)), Arc::new(Schema::new(keys)));
        let rows = Rows::new(values.clone(), layout.token_epoch());
        Ok(Decoder {
            format: layout.format(&values)?,
            key_format: layout.key_format(&keys)?,
            rows: if layout.on_error == OnError::Null { rows.tolerant() } else { rows },
            gone_format: layout.gone_format(&keys),
            gone: Rows::new(keys, layout.token_epoch()),
            layout: layout.clone(),
            partition,
            schema,
            slots,
            single_key,
        })
    }

    /// Decodes some records of a batch, of which `block` holds the bytes.
    pub fn decode(&mut self, batch: &Batch, block: &Block, records: Range<usize>) -> Result<Chunk> {
        self.rows.set_limit(usize::MAX);
        self.gone.set_limit(usize::MAX);
        let end = batch.records.get(records.end.wrapping_sub(1)).map_or(0, |record| record.offset + 1);
        self.prepare(&batch.records[records.clone()], block)?;
        let (mut taken, mut gone, mut bad) = (vec![], vec![], vec![]);
        for index in records {
            let record = &batch.records[index];
            match self.place(block, record, &mut bad) {
                Place::Row => taken.push(index),
                Place::Gone => gone.push(index),
                Place::Bad => {}
            }
        }
        let (rows, refused_rows, refused) = self.rows.finish_records(block)?;
        remove(&mut taken, &refused);
        let (keys, refused_keys, refused) = self.gone.finish_records(block)?;
        remove(&mut gone, &refused);
        let by_place = |record: BadRecord| by_offset(batch, block, record);
        bad.extend(refused_rows.into_iter().chain(refused_keys).map(by_place));
        bad.sort_by_key(|record| record.offset);
        let rows = self.values(batch, block, rows, &taken)?;
        let (rows, deletes) = match gone.is_empty() {
            true => (self.assemble((batch, block), rows.columns(), &taken)?, None),
            false => self.merge((batch, block), (rows, taken), (keys, gone))?,
        };
        Ok(Chunk { rows, deletes, bad, end: Offset(end as u64) })
    }

    /// Finds out by which schemas records are written, before any of them is decoded.
    fn prepare(&mut self, records: &[Record], block: &Block) -> Result<()> {
        let (Some(format), Some(key_format)) = (&mut self.format, &mut self.key_format) else { return Ok(()) };
        for record in records {
            match (&record.value, &record.key) {
                (Some(value), _) => {
                    format.prepare(&block.bytes()[value.clone()])?;
                    self.gone_format.prepare(&block.bytes()[value.clone()])?;
                }
                (None, Some(key)) => key_format.prepare(&block.bytes()[key.clone()])?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Hands a record to where it belongs.
    fn place(&mut self, block: &Block, record: &Record, bad: &mut Vec<BadRecord>) -> Place {
        let envelope = self.layout.envelope;
        let mut refuse = |reason: String| {
            let raw = record.value.clone().map_or(&[][..], |value| &block.bytes()[value]);
            bad.push(BadRecord::new(Offset(record.offset as u64), raw, reason));
            Place::Bad
        };
        let Some(value) = record.value.clone() else {
            return match envelope {
                Envelope::Upsert => self.key(block, record).unwrap_or_else(refuse),
                // The tombstone that follows a Debezium deletion says nothing new.
                Envelope::Debezium => Place::Bad,
                Envelope::Plain if matches!(self.layout.encoding, Encoding::Plain) => {
                    if self.format.is_some() {
                        self.rows.record(block, 0..0, |_, _| Ok(()));
                    }
                    Place::Row
                }
                Envelope::Plain => refuse("the record has no value".to_owned()),
            };
        };
        let value = match envelope {
            Envelope::Debezium => match self.change(block, value) {
                Ok(Change::Put(row)) => row,
                Ok(Change::Delete(row)) => {
                    let (format, gone) = (&mut self.gone_format, &mut self.gone);
                    let taken = gone.record(block, row.clone(), |tokens, extra| format.fill(block, row, tokens, extra));
                    return if taken { Place::Gone } else { Place::Bad };
                }
                Err(reason) => return refuse(reason),
            },
            _ => value,
        };
        let Some(format) = &mut self.format else { return Place::Row };
        let taken = self.rows.record(block, value.clone(), |row, extra| format.fill(block, value, row, extra));
        if taken { Place::Row } else { Place::Bad }
    }

    /// What a Debezium value says.
    fn change(&mut self, block: &Block, value: Range<usize>) -> std::result::Result<Change, String> {
        match (&self.layout.encoding, &mut self.format) {
            (Encoding::Avro(_), Some(format)) => {
                let deletes = format.is_deletion(block, value.clone())?;
                Ok(if deletes { Change::Delete(value) } else { Change::Put(value) })
            }
            _ => change(block, value),
        }
    }

    /// Takes the key of a tombstone: as its frame says, a JSON object, or the value of the only key column.
    fn key(&mut self, block: &Block, record: &Record) -> std::result::Result<Place, String> {
        let Some(key) = record.key.clone() else { return Err("a record without a value has no key".to_owned()) };
        let text = &block.bytes()[key.clone()];
        let taken = match self.key_format.as_mut().filter(|_| unframed(text).is_some()) {
            Some(format) => {
                self.gone.record(block, key.clone(), |tokens, extra| format.fill(block, key, tokens, extra))
            }
            None if std::str::from_utf8(text).is_err() => return Err(NOT_UTF8.to_owned()),
            None => {
                let (format, single) = (&mut self.gone_format, self.single_key);
                self.gone.record(block, key.clone(), |tokens, extra| match (text.first(), tokens) {
                    (_, []) => Ok(()),
                    (Some(b'{'), tokens) => format.fill(block, key, tokens, extra),
                    (_, [token]) if single => {
                        *token = bare(block, key, extra);
                        Ok(())
                    }
                    _ => Err("the key of a record without a value is no JSON object".to_owned()),
                })
            }
        };
        Ok(if taken { Place::Gone } else { Place::Bad })
    }

    /// The values of rows; bytes are taken as they are.
    fn values(&self, batch: &Batch, block: &Block, rows: RecordBatch, records: &[usize]) -> Result<RecordBatch> {
        if self.format.is_some() || rows.num_columns() == 0 {
            return Ok(rows);
        }
        let mut bytes = BinaryBuilder::new();
        for record in records {
            bytes.append_option(batch.records[*record].value.clone().map(|value| &block.bytes()[value]));
        }
        batch_of(rows.schema_ref(), vec![Arc::new(bytes.finish())], records.len())
    }

    /// Values and metadata as the columns wanted.
    fn assemble(&self, from: (&Batch, &Block), values: &[ArrayRef], records: &[usize]) -> Result<RecordBatch> {
        let arrays = self.slots.iter().zip(self.schema.fields()).map(|(slot, field)| match slot {
            Slot::Value(value, _) => values[*value].clone(),
            Slot::Metadata(metadata) => metadata.array(field, self.partition, from, records),
        });
        batch_of(&self.schema, arrays.collect(), records.len())
    }

    /// Rows and keys of rows that are gone, in the order of their records.
    fn merge(
        &self,
        from: (&Batch, &Block),
        (rows, taken): (RecordBatch, Vec<usize>),
        (keys, gone): (RecordBatch, Vec<usize>),
    ) -> Result<(RecordBatch, Option<BooleanBuffer>)> {
        let mut order: Vec<(usize, usize)> = taken.iter().chain(&gone).copied().zip(0..).collect();
        order.sort_unstable();
        let places = UInt64Array::from_iter_values(order.iter().map(|(_, place)| *place as u64));
        let records: Vec<usize> = order.iter().map(|(record, _)| *record).collect();
        let deletes = BooleanBuffer::collect_bool(order.len(), |index| order[index].1 >= taken.len());
        let loose: Vec<_> = self.schema.fields().iter().map(|field| nullable(field)).collect();
        let arrays = self.slots.iter().zip(&loose).map(|(slot, field)| match slot {
            Slot::Value(value, key) => {
                let below = match key {
                    Some(key) => keys.column(*key).clone(),
                    None => new_null_array(field.data_type(), gone.len()),
                };
                Ok(take(&concat(&[rows.column(*value), &below])?, &places, None)?)
            }
            Slot::Metadata(metadata) => Ok(metadata.array(field, self.partition, from, &records)),
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        Ok((batch_of(&Arc::new(Schema::new(loose)), arrays, order.len())?, Some(deletes)))
    }
}

/// A key that is a JSON value, else a text.
fn bare(block: &Block, key: Range<usize>, extra: &mut Vec<u8>) -> Token {
    let scanner = block.scanner(key.end);
    match scanner.value(scanner.skip_blanks(key.start), extra) {
        Ok((token, end)) if scanner.skip_blanks(end) == key.end => token,
        _ => Token::new(Kind::Text, key.start, key.end),
    }
}

fn nullable(field: &Field) -> Field {
    field.clone().with_nullable(true)
}

/// Takes out the entries at these places, which are sorted.
fn remove(entries: &mut Vec<usize>, places: &[usize]) {
    if places.is_empty() {
        return;
    }
    let mut place = 0;
    entries.retain(|_| {
        place += 1;
        places.binary_search(&(place - 1)).is_err()
    });
}

/// A bad record that is known by its place in the block, by its offset in the partition.
fn by_offset(batch: &Batch, block: &Block, record: BadRecord) -> BadRecord {
    let place = record.offset.0 as usize;
    let index = batch.records.partition_point(|record| record.start <= place).saturating_sub(1);
    let Some(of) = batch.records.get(index) else { return record };
    let raw = of.value.clone().map_or(&[][..], |value| &block.bytes()[value]);
    BadRecord::new(Offset(of.offset as u64), raw, record.reason)
}

/// A value that is one column of text.
struct Text;

impl RecordFormat for Text {
    fn fill(
        &mut self,
        block: &Block,
        span: Range<usize>,
        row: &mut [Token],
        _: &mut Vec<u8>,
    ) -> std::result::Result<(), String> {
        let bytes = &block.bytes()[span.clone()];
        if (!block.utf8 && std::str::from_utf8(bytes).is_err()) || bytes.contains(&0) {
            return Err(NOT_UTF8.to_owned());
        }
        if let Some(token) = row.first_mut() {
            *token = Token::new(Kind::Text, span.start, span.end);
        }
        Ok(())
    }
}
