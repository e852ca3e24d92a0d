//! `+ - * / %` as one function each: which types they take, what type they give, and the kernel for it.

use super::{decimal, interval, number};
use crate::error::carried;
use crate::time_zone::session_zone;
use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use millrace_types::{SqlError, SqlState, SqlType, sql_type_of};
use std::sync::{Arc, LazyLock};

/// An arithmetic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// The remainder, with the sign of the dividend.
    Modulo,
}

impl Operation {
    /// As SQL writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            Operation::Add => "+",
            Operation::Subtract => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
            Operation::Modulo => "%",
        }
    }

    /// The function that computes it.
    pub fn function(self) -> Arc<ScalarUDF> {
        static ALL: LazyLock<[Arc<ScalarUDF>; 5]> = LazyLock::new(|| {
            use Operation::*;
            [Add, Subtract, Multiply, Divide, Modulo].map(|operation| {
                let signature = Signature::user_defined(Volatility::Immutable);
                Arc::new(ScalarUDF::from(Arithmetic { operation, signature }))
            })
        });
        ALL[self as usize].clone()
    }
}

/// The function of an operation: named by its symbol, so that plans read as SQL does.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Arithmetic {
    operation: Operation,
    signature: Signature,
}

/// An interval as every value of ours holds it.
pub const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
/// A time of day.
pub const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);
/// A civil time.
pub const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// A moment.
pub fn timestamptz() -> DataType {
    SqlType::Timestamptz.arrow()
}

/// How an operation treats operands of two types: what they become and what comes out.
struct Resolved {
    left: DataType,
    right: DataType,
    result: DataType,
}

impl Arithmetic {
    fn resolve(&self, left: &DataType, right: &DataType) -> Option<Resolved> {
        let to = |left: DataType, right: DataType, result: DataType| Some(Resolved { left, right, result });
        match (left, right) {
            (DataType::Null, DataType::Null) => to(DataType::Int32, DataType::Int32, DataType::Int32),
            (DataType::Null, other) if other.is_numeric() => self.resolve(other, other),
            (other, DataType::Null) if other.is_numeric() => self.resolve(other, other),
            (DataType::Null, other) => {
                let guesses = [INTERVAL, other.clone(), DataType::Int32];
                guesses.iter().find_map(|guess| self.resolve(guess, other))
            }
            (other, DataType::Null) => {
                let guesses = [INTERVAL, other.clone(), DataType::Int32];
                guesses.iter().find_map(|guess| self.resolve(other, guess))
            }
            _ if left.is_numeric() && right.is_numeric() => self.resolve_numbers(left, right),
            _ => self.resolve_times(left, right),
        }
    }

    fn resolve_numbers(&self, left: &DataType, right: &DataType) -> Option<Resolved> {
        use DataType::*;
        if left.is_floating() || right.is_floating() {
            let float = if left == &Float32 && right == &Float32 { Float32 } else { Float64 };
            return Some(Resolved { left: float.clone(), right: float.clone(), result: float });
        }
        if matches!(left, Decimal128(..) | Decimal256(..)) || matches!(right, Decimal128(..) | Decimal256(..)) {
            let (left, right) = (precision_of(left)?, precision_of(right)?);
            let result = decimal::result_type(self.operation, left, right);
            return Some(Resolved { left: Decimal128(left.0, left.1), right: Decimal128(right.0, right.1), result });
        }
        let wider = width(left).max(width(right));
        let whole = if wider <= 2 {
            Int16
        } else if wider <= 4 {
            Int32
        } else {
            Int64
        };
        Some(Resolved { left: whole.clone(), right: whole.clone(), result: whole })
    }

    fn resolve_times(&self, left: &DataType, right: &DataType) -> Option<Resolved> {
        use DataType::{Date32, Float64, Int32, Timestamp};
        use Operation::*;
        let to = |left: DataType, right: DataType, result: DataType| Some(Resolved { left, right, result });
        let moment = |t: &DataType| match t {
            Timestamp(_, Some(_)) => timestamptz(),
            _ => TIMESTAMP,
        };
        match (left, self.operation, right) {
            (Date32, Add | Subtract, n) if n.is_integer() => to(Date32, Int32, Date32),
            (n, Add, Date32) if n.is_integer() => to(Int32, Date32, Date32),
            (Date32, Subtract, Date32) => to(Date32, Date32, Int32),
            (Date32, Add | Subtract, DataType::Interval(_)) => to(TIMESTAMP, INTERVAL, TIMESTAMP),
            (DataType::Interval(_), Add, Date32) => to(INTERVAL, TIMESTAMP, TIMESTAMP),
            (Date32, Add, DataType::Time64(_)) => to(TIMESTAMP, TIME, TIMESTAMP),
            (DataType::Time64(_), Add, Date32) => to(TIME, TIMESTAMP, TIMESTAMP),
            (t @ Timestamp(..), Add | Subtract, DataType::Interval(_)) => to(moment(t), INTERVAL, moment(t)),
            (DataType::Interval(_), Add, t @ Timestamp(..)) => to(INTERVAL, moment(t), moment(t)),
            (t @ Timestamp(..), Add, DataType::Time64(_)) => to(moment(t), TIME, moment(t)),
            (DataType::Time64(_), Add, t @ Timestamp(..)) => to(TIME, moment(t), moment(t)),
            (t @ (Timestamp(..) | Date32), Subtract, u @ (Timestamp(..) | Date32)) => {
                let common = if [t, u].iter().any(|t| moment(t) != TIMESTAMP) { timestamptz() } else { TIMESTAMP };
                to(common.clone(), common, INTERVAL)
            }
            (DataType::Time64(_), Add | Subtract, DataType::Interval(_)) => to(TIME, INTERVAL, TIME),
            (DataType::Interval(_), Add, DataType::Time64(_)) => to(INTERVAL, TIME, TIME),
            (DataType::Time64(_), Subtract, DataType::Time64(_)) => to(TIME, TIME, INTERVAL),
            (DataType::Interval(_), Add | Subtract, DataType::Interval(_)) => to(INTERVAL, INTERVAL, INTERVAL),
            (DataType::Interval(_), Multiply | Divide, n) if n.is_numeric() => to(INTERVAL, Float64, INTERVAL),
            (n, Multiply, DataType::Interval(_)) if n.is_numeric() => to(Float64, INTERVAL, INTERVAL),
            _ => None,
        }
    }

    fn compute(&self, args: &ScalarFunctionArgs, rows: usize) -> millrace_types::Result<ArrayRef> {
        use DataType::*;
        let one_side = |value: &ColumnarValue| match value {
            ColumnarValue::Array(array) => Ok(array.clone()),
            ColumnarValue::Scalar(scalar) => scalar.to_array_of_size(1),
        };
        let internal = |error: datafusion::common::DataFusionError| SqlError::internal(error.to_string());
        let left = one_side(&args.args[0]).map_err(internal)?;
        let right = one_side(&args.args[1]).map_err(internal)?;
        let result = args.return_field.data_type();
        match (left.data_type(), right.data_type()) {
            (Null, _) | (_, Null) => Ok(new_null_array(result, rows)),
            (Int16, Int16) => number::evaluate::<Int16Type>(self.operation, &left, &right, rows),
            (Int32, Int32) => number::evaluate::<Int32Type>(self.operation, &left, &right, rows),
            (Int64, Int64) => number::evaluate::<Int64Type>(self.operation, &left, &right, rows),
            (Float32, Float32) => number::evaluate::<Float32Type>(self.operation, &left, &right, rows),
            (Float64, Float64) => number::evaluate::<Float64Type>(self.operation, &left, &right, rows),
            (Decimal128(..), Decimal128(..)) => decimal::evaluate(self.operation, &left, &right, rows, result),
            _ => interval::evaluate(self.operation, &left, &right, rows, &session_zone(&args.config_options)?),
        }
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        self.operation.symbol()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("({} {} {})", args[0], self.operation.symbol(), args[1]))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("{} {} {}", args[0].schema_name(), self.operation.symbol(), args[1].schema_name()))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let resolved = self.resolve(&types[0], &types[1]);
        resolved.map(|r| r.result).ok_or_else(|| {
            let (left, right) = (SqlType::from_arrow(&types[0]), SqlType::from_arrow(&types[1]));
            carried(no_such_operator(self.operation.symbol(), &left, &right))
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let result = self.return_type(&types)?;
        // Always nullable: DataFusion moves expressions to where rows of an outer join may be missing.
        Ok(Arc::new(numeric_like(args.arg_fields, Field::new(self.name(), result, true))))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [left, right] => match self.resolve(left, right) {
                Some(resolved) => Ok(vec![resolved.left, resolved.right]),
                // Left as it is, so that the error of `return_type` is seen: one of here would come as text.
                None => Ok(types.to_vec()),
            },
            _ => datafusion::common::plan_err!("operator {} takes two operands", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let array = self.compute(&args, rows).map_err(carried)?;
        match constant {
            true => ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}

/// A numeric result of an unconstrained `numeric` argument is itself unconstrained, unless its scale is another one.
pub fn numeric_like(arguments: &[FieldRef], result: Field) -> Field {
    let unconstrained = arguments.iter().find(|field| sql_type_of(field) == SqlType::Numeric(None));
    match unconstrained {
        Some(field) if *result.data_type() == SqlType::Numeric(None).arrow() => {
            result.with_metadata(field.metadata().clone())
        }
        _ => result,
    }
}

/// `42883` for a binary operator.
pub fn no_such_operator(symbol: &str, left: &SqlType, right: &SqlType) -> SqlError {
    let name = |t: &SqlType| match t {
        SqlType::Numeric(_) => "numeric".to_owned(),
        other => other.to_string(),
    };
    let message = format!("operator does not exist: {} {symbol} {}", name(left), name(right));
    SqlError::new(SqlState::UNDEFINED_FUNCTION, message)
        .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
}

fn width(data_type: &DataType) -> usize {
    match data_type {
        // Unsigned values need the next wider signed type.
        DataType::UInt8 => 2,
        DataType::UInt16 => 4,
        DataType::UInt32 => 8,
        other => other.primitive_width().unwrap_or(8),
    }
}

/// Precision and scale of the numeric that holds every value of a type.
pub fn precision_of(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        // A literal like 1e100 has a negative scale; its cast says that it does not fit.
        DataType::Decimal128(_, ..0) | DataType::Decimal256(_, ..0) => (38, 0),
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        DataType::Decimal256(precision, scale) => ((*precision).min(38), (*scale).min(38)),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => (5, 0),
        DataType::Int32 | DataType::UInt16 => (10, 0),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => (20, 0),
        _ => return None,
    })
}
