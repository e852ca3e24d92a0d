//! How the rows of [`Ordered`](super::ordered::Ordered) become bytes in order, and bytes rows.

use super::batch_of;
use super::key::comparable;
use super::rows::{OrderedRow, RowView};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, RowParser, SortField};
use millrace_ir::SortColumn;
use millrace_types::Result;

/// How rows become ordered bytes, and bytes rows.
pub struct Format {
    pub(super) schema: SchemaRef,
    pub(super) partition: Part,
    order: Part,
    others: Part,
    exact: Part,
    /// Of the identity as a whole.
    identity: RowConverter,
    parser: RowParser,
    exact_parser: RowParser,
    /// For each column of the schema its place among the columns of the identity, or behind them in the exact ones.
    places: Vec<usize>,
}

/// Some columns that are encoded together.
pub(super) struct Part {
    pub columns: Vec<usize>,
    converter: RowConverter,
}

impl Part {
    fn new(fields: &[(usize, SortField)]) -> Result<Part> {
        let (columns, fields) = fields.iter().cloned().unzip();
        Ok(Part { columns, converter: RowConverter::new(fields)? })
    }

    /// The columns of the rows at `places`, or of all.
    fn encode(
        &self,
        rows: &RecordBatch,
        places: Option<&UInt32Array>,
        as_compared: bool,
    ) -> Result<Option<arrow::row::Rows>> {
        let value = |&column: &usize| -> Result<ArrayRef> {
            let column = match places {
                Some(places) => take(rows.column(column), places, None)?,
                None => rows.column(column).clone(),
            };
            Ok(if as_compared { comparable(&column) } else { column })
        };
        let columns = self.columns.iter().map(value).collect::<Result<Vec<_>>>()?;
        // Without columns there is nothing to count rows by.
        Ok(if columns.is_empty() { None } else { Some(self.converter.convert_columns(&columns)?) })
    }
}

/// Whether values of a type can be equal and look different.
fn has_looks(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64 | DataType::Interval(_))
}

impl Format {
    pub fn new(schema: SchemaRef, partition: &[usize], order: &[SortColumn]) -> Result<Format> {
        let field = |column: usize| (column, SortField::new(schema.field(column).data_type().clone()));
        let partition: Vec<_> = partition.iter().map(|&column| field(column)).collect();
        let mut taken: Vec<usize> = partition.iter().map(|(column, _)| *column).collect();
        let mut ordered = Vec::new();
        // What stands in the partition or earlier in the order decides nothing.
        for sort in order {
            if !taken.contains(&sort.column) {
                taken.push(sort.column);
                let data_type = schema.field(sort.column).data_type().clone();
                ordered.push((sort.column, SortField::new_with_options(data_type, sort.options)));
            }
        }
        let width = schema.fields().len();
        let others: Vec<_> = (0..width).filter(|column| !taken.contains(column)).map(field).collect();
        let exact: Vec<_> = (0..width).filter(|&c| has_looks(schema.field(c).data_type())).map(field).collect();
        let all: Vec<(usize, SortField)> = [partition.clone(), ordered.clone(), others.clone()].concat();
        let place = |column: usize| match exact.iter().position(|(other, _)| *other == column) {
            Some(place) => width + place,
            None => all.iter().position(|(other, _)| *other == column).unwrap_or_default(),
        };
        let places = (0..width).map(place).collect();
        let identity = Part::new(&all)?.converter;
        let exact = Part::new(&exact)?;
        Ok(Format {
            partition: Part::new(&partition)?,
            order: Part::new(&ordered)?,
            others: Part::new(&others)?,
            parser: identity.parser(),
            exact_parser: exact.converter.parser(),
            exact,
            identity,
            places,
            schema,
        })
    }

    /// What partitions and orders the rows.
    pub(super) fn heads(&self, rows: &RecordBatch) -> Result<Heads> {
        Ok(Heads { partition: self.partition.encode(rows, None, true)?, order: self.order.encode(rows, None, true)? })
    }

    /// What follows, of the rows at `places`, or of all.
    pub(super) fn tails(&self, rows: &RecordBatch, places: Option<&[u32]>) -> Result<Tails> {
        let places = places.filter(|places| places.len() < rows.num_rows());
        let places = places.map(|places| UInt32Array::from(places.to_vec()));
        Ok(Tails {
            others: self.others.encode(rows, places.as_ref(), true)?,
            exact: self.exact.encode(rows, places.as_ref(), false)?,
        })
    }

    /// The rows that were collected, as columns.
    pub fn decode(&self, rows: &Decoding) -> Result<RecordBatch> {
        let identities = rows.rows().map(|(identity, _)| self.parser.parse(identity));
        let mut columns = self.identity.convert_rows(identities)?;
        if !self.exact.columns.is_empty() {
            let looks = rows.rows().map(|(_, exact)| self.exact_parser.parse(exact));
            columns.extend(self.exact.converter.convert_rows(looks)?);
        }
        let columns = self.places.iter().map(|&place| columns[place].clone()).collect();
        batch_of(&self.schema, columns, rows.len())
    }
}

/// What partitions and orders the rows of a batch, as bytes; `None` for parts without columns.
pub(super) struct Heads {
    partition: Option<arrow::row::Rows>,
    order: Option<arrow::row::Rows>,
}

/// What follows, of the rows that are wanted.
pub(super) struct Tails {
    others: Option<arrow::row::Rows>,
    exact: Option<arrow::row::Rows>,
}

fn part_of(rows: &Option<arrow::row::Rows>, at: usize) -> &[u8] {
    rows.as_ref().map_or(&[], |rows| rows.row(at).data())
}

impl Heads {
    /// Partition and order of a row.
    pub fn of(&self, at: usize) -> (&[u8], &[u8]) {
        (part_of(&self.partition, at), part_of(&self.order, at))
    }

    /// Writes one row into `bytes`, and answers its partition and itself. `place`: where its tail is.
    pub fn write<'a>(&self, at: usize, tails: &Tails, place: usize, bytes: &'a mut Vec<u8>) -> (&'a [u8], RowView<'a>) {
        let (partition, order) = self.of(at);
        let parts = [partition, order, part_of(&tails.others, place), part_of(&tails.exact, place)];
        bytes.clear();
        let [partition, peers, identity, _] = parts.map(|part| {
            bytes.extend_from_slice(part);
            bytes.len()
        });
        (&bytes[..partition], RowView { bytes, peers: &bytes[..peers], identity: &bytes[..identity] })
    }
}

/// Rows on their way from bytes to columns.
#[derive(Default)]
pub struct Decoding {
    bytes: Vec<u8>,
    /// Where the identity and the whole of each row end.
    ends: Vec<(usize, usize)>,
}

impl Decoding {
    /// Adds a copy of a row.
    pub fn push(&mut self, row: &OrderedRow) {
        let (start, row) = (self.bytes.len(), row.view());
        self.bytes.extend_from_slice(row.bytes);
        self.ends.push((start + row.identity.len(), self.bytes.len()));
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The identity and the exact bytes of each row.
    fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, &(middle, end))| (&self.bytes[start..middle], &self.bytes[middle..end]))
    }
}
