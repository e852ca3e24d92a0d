//! A system function bound to a snapshot, as DataFusion calls it.

use super::Function;
use crate::system::cell::{Cell, from_array, to_array};
use crate::system::shape::named_type;
use crate::system::snapshot::Snapshot;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{exec_err, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use millrace_types::{SqlError, SqlState, SqlType, field_of};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Makes DataFusion's function of one of ours.
pub fn bind(function: &'static Function, snapshot: Arc<Snapshot>) -> ScalarUDF {
    ScalarUDF::new_from_impl(Bound { function, snapshot, signature: Signature::user_defined(Volatility::Stable) })
}

struct Bound {
    function: &'static Function,
    snapshot: Arc<Snapshot>,
    signature: Signature,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SystemFunction").field(&self.function.name).finish()
    }
}

/// Two bound functions are the same when they are the same function of the same snapshot.
impl PartialEq for Bound {
    fn eq(&self, other: &Bound) -> bool {
        self.function.name == other.function.name && Arc::ptr_eq(&self.snapshot, &other.snapshot)
    }
}

impl Eq for Bound {}

impl Hash for Bound {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl Bound {
    fn result(&self) -> Result<SqlType> {
        match named_type(self.function.result) {
            Some(sql_type) => Ok(sql_type),
            None => internal_err!("system function {} has no result type", self.function.name),
        }
    }

    /// The value for one row, numbers put in the place of names where the function takes a relation.
    fn row(&self, mut cells: Vec<Cell>) -> millrace_types::Result<Cell> {
        if self.function.strict && cells.iter().any(Cell::is_null) {
            return Ok(Cell::Null);
        }
        for (cell, kind) in cells.iter_mut().zip(self.function.arguments) {
            let Cell::Text(text) = &*cell else { continue };
            match *kind {
                "regclass" => *cell = self.snapshot.require_class(text)?.into(),
                "oid" => {
                    let number: Result<u32, _> = text.trim().parse();
                    *cell = number.map(Cell::from).map_err(|_| {
                        let message = format!("invalid input syntax for type oid: \"{text}\"");
                        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
                    })?;
                }
                _ => {}
            }
        }
        (self.function.call)(&self.snapshot, &cells)
    }
}

/// `42883`: no function of the name takes these arguments.
fn undefined(name: &str, arguments: &str) -> DataFusionError {
    let error = SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}({arguments}) does not exist"))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.");
    DataFusionError::External(Box::new(error))
}

/// The Arrow type in which a function takes an argument.
fn taken_as(kind: &str, given: &DataType) -> DataType {
    let is_text = matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match kind {
        "oid" | "regclass" if is_text => DataType::Utf8View,
        "oid" | "regclass" => DataType::UInt32,
        "any" if *given == DataType::Null => DataType::Utf8View,
        "any" => given.clone(),
        name => named_type(name).map_or_else(|| given.clone(), |sql_type| sql_type.arrow()),
    }
}

impl ScalarUDFImpl for Bound {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if given.len() < self.function.required || given.len() > self.function.arguments.len() {
            let spelled: Vec<_> = given.iter().map(|t| SqlType::from_arrow(t).to_string()).collect();
            return Err(undefined(self.function.name, &spelled.join(", ")));
        }
        Ok(self.function.arguments.iter().zip(given).map(|(kind, given)| taken_as(kind, given)).collect())
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.result()?.arrow())
    }

    fn return_field_from_args(&self, _arguments: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(field_of(self.function.name, &self.result()?, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { arguments.number_rows };
        let arrays: Vec<ArrayRef> =
            arguments.args.into_iter().map(|argument| argument.into_array(rows)).collect::<Result<_>>()?;
        let external = |error: SqlError| DataFusionError::External(Box::new(error));
        let mut cells = Vec::with_capacity(rows);
        for row in 0..rows {
            let of_row = arrays.iter().map(|array| from_array(array, row)).collect::<Result<_, _>>();
            cells.push(of_row.and_then(|of_row| self.row(of_row)).map_err(external)?);
        }
        let array = to_array(&self.result()?, &cells).map_err(external)?;
        if array.len() != rows {
            return exec_err!("{} gave {} values for {rows} rows", self.function.name, array.len());
        }
        Ok(match (constant, array.as_list_opt::<i32>()) {
            (false, _) => ColumnarValue::Array(array),
            // Made from the array as it is, which keeps what the field of its elements says.
            (true, Some(list)) => ColumnarValue::Scalar(ScalarValue::List(Arc::new(list.clone()))),
            (true, None) => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?),
        })
    }
}
