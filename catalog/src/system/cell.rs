//! Cells: the values that system relations and functions are written in, and their way into Arrow and out of it.
//!
//! The catalog is small and read seldom, so its rows are made cell by cell for the sake of short definitions.

use arrow::array::*;
use arrow::datatypes::DataType;
use millrace_types::{Result, SqlError, SqlType};
use std::sync::Arc;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// What a column holds that a row says nothing about: false, 0, the empty name, or NULL where NULL may stand.
    Default,
    /// A bool.
    Bool(bool),
    /// Any integer, an OID, or a timestamp in microseconds.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text of any type.
    Text(String),
    /// An array.
    List(Vec<Cell>),
}

impl Cell {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Cell::Null)
    }

    /// The integer, if it is one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Cell::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer as an OID, if it is one.
    pub fn oid(&self) -> Option<u32> {
        self.int().and_then(|value| u32::try_from(value).ok())
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }
}

macro_rules! cell_from {
    ($($from:ty => |$value:ident| $cell:expr),* $(,)?) => {
        $(impl From<$from> for Cell { fn from($value: $from) -> Cell { $cell } })*
    };
}

cell_from! {
    bool => |value| Cell::Bool(value),
    i16 => |value| Cell::Int(i64::from(value)),
    i32 => |value| Cell::Int(i64::from(value)),
    u32 => |value| Cell::Int(i64::from(value)),
    i64 => |value| Cell::Int(value),
    usize => |value| Cell::Int(value as i64),
    f64 => |value| Cell::Float(value),
    char => |value| Cell::Text(value.to_string()),
    &str => |value| Cell::Text(value.to_owned()),
    String => |value| Cell::Text(value),
    &String => |value| Cell::Text(value.clone()),
    millrace_types::RelationId => |id| Cell::Int(i64::from(id.0)),
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

impl<T: Into<Cell>> From<Vec<T>> for Cell {
    fn from(values: Vec<T>) -> Cell {
        Cell::List(values.into_iter().map(Into::into).collect())
    }
}

/// What [`Cell::Default`] stands for in a column of this type.
fn default_cell(sql_type: &SqlType) -> Cell {
    use SqlType::*;
    match sql_type {
        Bool => Cell::Bool(false),
        Int2 | Int4 | Int8 | Oid | Regclass | Regtype | Regproc | Regnamespace => Cell::Int(0),
        Float4 | Float8 => Cell::Float(0.0),
        Name | Char => Cell::Text(String::new()),
        _ => Cell::Null,
    }
}

/// The cells of one column as an Arrow array of the type. Fails with XX000 when a cell is not of the type.
pub fn to_array(sql_type: &SqlType, cells: &[Cell]) -> Result<ArrayRef> {
    let default = default_cell(sql_type);
    let cells: Vec<&Cell> = cells.iter().map(|cell| if *cell == Cell::Default { &default } else { cell }).collect();
    macro_rules! integers {
        ($array:ty, $native:ty) => {
            Arc::new(cells.iter().map(|c| c.int().and_then(|v| <$native>::try_from(v).ok())).collect::<$array>())
        };
    }
    let array: ArrayRef = match sql_type.arrow() {
        DataType::Boolean => Arc::new(
            cells.iter().map(|c| if let Cell::Bool(v) = c { Some(*v) } else { None }).collect::<BooleanArray>(),
        ),
        DataType::Int16 => integers!(Int16Array, i16),
        DataType::Int32 => integers!(Int32Array, i32),
        DataType::Int64 => integers!(Int64Array, i64),
        DataType::UInt32 => integers!(UInt32Array, u32),
        DataType::Timestamp(_, zone) => {
            Arc::new(TimestampMicrosecondArray::from_iter(cells.iter().map(|c| c.int())).with_timezone_opt(zone))
        }
        DataType::Float32 => Arc::new(cells.iter().map(|c| float(c).map(|v| v as f32)).collect::<Float32Array>()),
        DataType::Float64 => Arc::new(cells.iter().map(|c| float(c)).collect::<Float64Array>()),
        DataType::Utf8View => Arc::new(cells.iter().map(|c| c.text()).collect::<StringViewArray>()),
        DataType::List(field) => {
            let SqlType::Array(element) = sql_type else { return Err(mismatch(sql_type)) };
            let mut offsets = vec![0i32];
            let mut items = Vec::new();
            for cell in &cells {
                if let Cell::List(list) = cell {
                    items.extend(list.iter().cloned());
                }
                offsets.push(items.len() as i32);
            }
            let valid = cells.iter().map(|c| matches!(c, Cell::List(_))).collect();
            let values = to_array(element, &items)?;
            Arc::new(ListArray::try_new(field, arrow::buffer::OffsetBuffer::new(offsets.into()), values, Some(valid))?)
        }
        // The few columns of other types that system relations have are NULL here.
        other => new_null_array(&other, cells.len()),
    };
    match array.null_count() == cells.iter().filter(|cell| cell.is_null()).count() {
        true => Ok(array),
        false if cells.iter().all(|cell| cell.is_null()) => Ok(array),
        false => Err(mismatch(sql_type)),
    }
}

fn float(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Float(value) => Some(*value),
        Cell::Int(value) => Some(*value as f64),
        _ => None,
    }
}

fn mismatch(sql_type: &SqlType) -> SqlError {
    SqlError::internal(format!("a system relation has a value that is no {sql_type}"))
}

/// The value of an array at a row. Types that no function of ours takes come out as their text.
pub fn from_array(array: &dyn Array, row: usize) -> Result<Cell> {
    if array.is_null(row) {
        return Ok(Cell::Null);
    }
    Ok(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            Cell::List((0..list.len()).map(|i| from_array(&list, i)).collect::<Result<_>>()?)
        }
        other if other.is_integer() => {
            let value = arrow::compute::cast(&array.slice(row, 1), &DataType::Int64)?;
            value.as_primitive::<arrow::datatypes::Int64Type>().value(0).into()
        }
        other if other.is_floating() => {
            let value = arrow::compute::cast(&array.slice(row, 1), &DataType::Float64)?;
            value.as_primitive::<arrow::datatypes::Float64Type>().value(0).into()
        }
        _ => arrow::util::display::array_value_to_string(array, row)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_survive_their_way_through_arrow() {
        let names = SqlType::Array(Box::new(SqlType::Name));
        for (sql_type, cell) in [
            (SqlType::Bool, Cell::Bool(true)),
            (SqlType::Int2, Cell::Int(-3)),
            (SqlType::Oid, Cell::Int(4_294_967_295)),
            (SqlType::Float8, Cell::Float(1.5)),
            (SqlType::Name, Cell::Text("a".into())),
            (names, Cell::List(vec!["a".into(), Cell::Null])),
        ] {
            let array = to_array(&sql_type, &[Cell::Null, cell.clone()]).unwrap();
            assert_eq!(array.data_type(), &sql_type.arrow());
            assert_eq!(from_array(&array, 0).unwrap(), Cell::Null);
            assert_eq!(from_array(&array, 1).unwrap(), cell);
        }
    }

    #[test]
    fn a_value_of_another_type_is_an_error_rather_than_a_null() {
        assert!(to_array(&SqlType::Int4, &["x".into()]).is_err());
        assert!(to_array(&SqlType::Oid, &[Cell::Int(-1)]).is_err());
    }
}
