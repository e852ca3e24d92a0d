//! A scalar function whose types follow from those of its arguments: what Postgres declares over `anyarray` and
//! `anyelement`, and what takes values of every type.

use crate::error::carried;
use crate::function::{Call, scalar_of};
use crate::time_zone::session_zone;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use millrace_types::{Result, SqlError, SqlState, SqlType, sql_type_of};
use std::sync::Arc;

/// What the arguments of a call become, and what it gives; `None` where it does not take such arguments.
pub type Types = fn(&[FieldRef]) -> Result<Option<(Vec<DataType>, Field)>>;

/// Computes the column of a call.
type Run = Box<dyn Fn(&Call) -> Result<ArrayRef> + Send + Sync>;

/// A function: its name, its typing and its values.
pub struct Generic {
    name: &'static str,
    aliases: Vec<String>,
    types: Types,
    run: Run,
    signature: Signature,
}

/// A function that gives the same for the same arguments.
pub fn generic(
    name: &'static str,
    aliases: &[&str],
    types: Types,
    run: impl Fn(&Call) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let run = Box::new(run);
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    let any = vec![TypeSignature::Nullary, TypeSignature::UserDefined];
    let signature = Signature::one_of(any, Volatility::Immutable);
    ScalarUDF::from(Generic { name, aliases, types, run, signature })
}

/// The field of values of another field's type: its type and its mark, without its name. Texts are views.
pub fn like(field: &Field) -> Field {
    let field = field.clone().with_name("").with_nullable(true);
    if field.data_type().is_string() { field.with_data_type(DataType::Utf8View) } else { field }
}

/// The field of arrays of an element.
pub fn list_of(element: &Field) -> Field {
    Field::new("", DataType::List(Arc::new(element.clone().with_name("item").with_nullable(true))), true)
}

/// The field of an array's elements; `None` for other types.
pub fn element_of(field: &Field) -> Option<&FieldRef> {
    match field.data_type() {
        DataType::List(element) => Some(element),
        _ => None,
    }
}

/// `42883`: there is no such function for these arguments.
pub fn no_such_function<'a>(name: &str, arguments: impl IntoIterator<Item = &'a FieldRef>) -> SqlError {
    let shown = |field: &FieldRef| match sql_type_of(field) {
        SqlType::Numeric(_) => "numeric".to_owned(),
        SqlType::Unknown => "unknown".to_owned(),
        other => other.to_string(),
    };
    let types: Vec<_> = arguments.into_iter().map(shown).collect();
    SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}({}) does not exist", types.join(", ")))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

impl Generic {
    fn typed(&self, fields: &[FieldRef]) -> Result<(Vec<DataType>, Field)> {
        (self.types)(fields)?.ok_or_else(|| no_such_function(self.name, fields))
    }
}

fn unnamed(types: &[DataType]) -> Vec<FieldRef> {
    types.iter().map(|data_type| Arc::new(Field::new("", data_type.clone(), true))).collect()
}

impl ScalarUDFImpl for Generic {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType, DataFusionError> {
        self.typed(&unnamed(types)).map(|(_, field)| field.data_type().clone()).map_err(carried)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef, DataFusionError> {
        let (_, field) = self.typed(args.arg_fields).map_err(carried)?;
        Ok(Arc::new(field.with_name(self.name).with_nullable(true)))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        // Unfitting types stay as they are, so that the error of `return_type` is seen: one of here would come as text.
        Ok(self.typed(&unnamed(types)).map_or_else(|_| types.to_vec(), |(types, _)| types))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>, _>>()?;
        let zone = session_zone(&args.config_options).map_err(carried)?;
        let call = Call { arrays, fields: &args.arg_fields, result: &args.return_field, rows, zone };
        let array = (self.run)(&call).map_err(carried)?;
        match constant {
            true => scalar_of(&array).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}

impl std::fmt::Debug for Generic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Generic {
    fn eq(&self, other: &Generic) -> bool {
        self.name == other.name
    }
}

impl Eq for Generic {}

impl std::hash::Hash for Generic {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}
