//! `information_schema._pg_expandarray`: an array as pairs of an element `x` and its position `n`.
//!
//! In Postgres it returns a set. Here it returns an array of pairs, which the rewrite unnests where the call stands.

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ExpandArray {
    signature: Signature,
}

impl ExpandArray {
    /// The function; it needs no snapshot.
    pub fn new() -> ExpandArray {
        ExpandArray { signature: Signature::any(1, Volatility::Immutable) }
    }
}

/// The fields of a pair.
fn pair(array: &DataType) -> Result<Fields> {
    match array {
        DataType::List(element) => Ok(Fields::from(vec![
            Field::new("x", element.data_type().clone(), true).with_metadata(element.metadata().clone()),
            Field::new("n", DataType::Int32, true),
        ])),
        other => plan_err!("function _pg_expandarray({other}) does not exist"),
    }
}

impl ScalarUDFImpl for ExpandArray {
    fn name(&self) -> &str {
        "_pg_expandarray"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [array] => Ok(DataType::List(Arc::new(Field::new("item", DataType::Struct(pair(array)?), true)))),
            _ => plan_err!("function _pg_expandarray takes one argument"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [array] = arrays.as_slice() else { return plan_err!("function _pg_expandarray takes one argument") };
        let fields = pair(array.data_type())?;
        let list = array.as_list::<i32>();
        let (first, last) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
        let elements = list.values().slice(first, last - first);
        let positions: Int32Array = list.offsets().lengths().flat_map(|length| 1..=length as i32).collect();
        let pairs = StructArray::try_new(fields.clone(), vec![elements, Arc::new(positions) as ArrayRef], None)?;
        let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(list.offsets().lengths());
        let expanded = ListArray::try_new(item, offsets, Arc::new(pairs), list.nulls().cloned())?;
        Ok(ColumnarValue::Array(Arc::new(expanded)))
    }
}
