//! `lag`, `lead` and `ntile` with a count that each row says for itself.

use super::COUNTED;
use crate::error::carried;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::common::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;
use millrace_types::{SqlError, SqlState};
use std::sync::Arc;

/// The functions of [`COUNTED`]; the last is taken by [`Frames`](super::Frames), since it looks at frames.
pub fn functions() -> Vec<Arc<WindowUDF>> {
    let signature = || Signature::user_defined(Volatility::Immutable);
    let each = COUNTED.iter().map(|(function, name)| Counted { function, name, signature: signature() });
    each.map(|counted| Arc::new(WindowUDF::from(counted))).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Counted {
    function: &'static str,
    name: &'static str,
    signature: Signature,
}

impl WindowUDFImpl for Counted {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match (self.function, given) {
            ("ntile", [_]) => Ok(vec![DataType::Int32]),
            ("lag" | "lead" | "nth_value", [value, _]) => Ok(vec![value.clone(), DataType::Int32]),
            _ => {
                let given: Vec<FieldRef> =
                    given.iter().map(|given| Arc::new(Field::new("", given.clone(), true))).collect();
                Err(carried(crate::generic::no_such_function(self.function, &given)))
            }
        }
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator(self.function)))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(match (self.function, args.get_input_field(0)) {
            ("lag" | "lead" | "nth_value", Some(value)) => {
                Arc::new(value.as_ref().clone().with_name(args.name()).with_nullable(true))
            }
            _ => Arc::new(Field::new(args.name(), DataType::Int32, true)),
        })
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Evaluator(&'static str);

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        match self.0 {
            "lag" => shifted(values, rows, -1),
            "lead" => shifted(values, rows, 1),
            "ntile" => buckets(values[0].as_primitive(), rows),
            other => datafusion::common::internal_err!("{other} with a count has not been given its frame"),
        }
    }
}

/// The value of the row that is so many rows further in a direction.
fn shifted(values: &[ArrayRef], rows: usize, direction: i64) -> Result<ArrayRef> {
    let offsets = values[1].as_primitive::<Int32Type>();
    let place = |row: usize| {
        let place = row as i64 + direction * i64::from(offsets.is_valid(row).then(|| offsets.value(row))?);
        u64::try_from(place).ok().filter(|place| *place < rows as u64)
    };
    let places: UInt64Array = (0..rows).map(place).collect();
    Ok(arrow::compute::take(&values[0], &places, None)?)
}

/// The rows in so many buckets as the first row says that says something; those before it are in none.
fn buckets(counts: &Int32Array, rows: usize) -> Result<ArrayRef> {
    let Some(first) = (0..rows).find(|row| counts.is_valid(*row)) else {
        return Ok(Arc::new(Int32Array::new_null(rows)));
    };
    let count = usize::try_from(counts.value(first)).ok().filter(|count| *count > 0).ok_or_else(|| {
        let message = "argument of ntile must be greater than zero";
        carried(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_NTILE, message))
    })?;
    // The first buckets have one row more where the rows do not divide evenly.
    let (size, larger) = (rows / count, rows % count);
    let bucket = |row: usize| match row < larger * (size + 1) {
        true => row / (size + 1),
        false => larger + (row - larger * (size + 1)) / size.max(1),
    };
    let each = (0..rows).map(|row| row.checked_sub(first).map(|row| bucket(row) as i32 + 1));
    Ok(Arc::new(each.collect::<Int32Array>()))
}
