//! Functions of DataFusion whose arguments share a type: a text constant beside other values is one of those.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

/// Names of the functions.
pub const NAMES: &[&str] = &["coalesce", "greatest", "least"];

/// A function that takes texts for values of the other arguments' type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Lenient {
    inner: Arc<ScalarUDF>,
}

impl Lenient {
    /// `inner` with lenient arguments.
    pub fn new(inner: Arc<ScalarUDF>) -> Lenient {
        Lenient { inner }
    }
}

/// The types with texts replaced by the first other one.
fn without_texts(types: &[DataType]) -> Vec<DataType> {
    let other = types.iter().find(|data_type| !data_type.is_string() && !data_type.is_null());
    let settled = |data_type: &DataType| match other {
        Some(other) if data_type.is_string() => other.clone(),
        _ => data_type.clone(),
    };
    types.iter().map(settled).collect()
}

impl ScalarUDFImpl for Lenient {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let given = types;
        let types = without_texts(given);
        // Arrow has no cast from texts to some types: then a rule of ours reads the texts before coercion.
        if given.iter().zip(&types).any(|(given, wanted)| !arrow::compute::can_cast_types(given, wanted)) {
            return Ok(given.to_vec());
        }
        match types.windows(2).all(|two| two[0] == two[1]) && !types.is_empty() {
            true => Ok(types),
            false => self.inner.coerce_types(&types),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(&without_texts(types))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }
}
