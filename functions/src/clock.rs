//! `now()` and its relatives: the moment at which the transaction began, or the statement.

use crate::casts::{Purpose, cast};
use crate::error::carried;
use crate::operators::arithmetic::{TIME, TIMESTAMP, timestamptz};
use crate::time_zone::session_zone;
use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use chrono::{DateTime, Utc};
use datafusion::common::{Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::cell::Cell;
use std::sync::Arc;

/// When a row is processed: in a query the moment at which it began, as the default of a column when its row came in.
pub const PROCTIME: &str = "proctime";

/// When the statement began.
const STATEMENT: &str = "statement_timestamp";

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    let of = |name: &'static str, aliases: &[&str], result: DataType| {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        ScalarUDF::from(Clock { name, aliases, result, signature: Signature::nullary(Volatility::Stable) })
    };
    vec![
        of("now", &["current_timestamp", "transaction_timestamp"], timestamptz()),
        of(STATEMENT, &["clock_timestamp"], timestamptz()),
        of(PROCTIME, &[], timestamptz()),
        of("localtimestamp", &[], TIMESTAMP),
        of("current_date", &[], DataType::Date32),
        of("localtime", &["current_time"], TIME),
    ]
}

thread_local! {
    static MOMENT: Cell<Option<DateTime<Utc>>> = const { Cell::new(None) };
}

/// Computes something within one moment: all clocks that it reads show the same.
pub fn at_one_moment<T>(compute: impl FnOnce() -> T) -> T {
    let before = MOMENT.replace(Some(Utc::now()));
    let computed = compute();
    MOMENT.set(before);
    computed
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Clock {
    name: &'static str,
    aliases: Vec<String>,
    result: DataType,
    signature: Signature,
}

impl Clock {
    /// A moment in the session's zone, as the type of the function.
    fn reading(&self, moment: DateTime<Utc>, options: &ConfigOptions) -> Result<ScalarValue> {
        let moment: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![moment.timestamp_micros()]).with_timezone("UTC"));
        let from = Field::new("", timestamptz(), false);
        let to = Field::new("", self.result.clone(), false);
        let zone = session_zone(options).map_err(carried)?;
        let converted = cast(&moment, &from, &to, Purpose::Explicit, &zone).map_err(carried)?;
        ScalarValue::try_from_array(&converted, 0)
    }
}

impl ScalarUDFImpl for Clock {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name, self.result.clone(), false)))
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match context.query_execution_start_time() {
            Some(start) => {
                ExprSimplifyResult::Simplified(Expr::Literal(self.reading(start, context.config_options())?, None))
            }
            None => ExprSimplifyResult::Original(args),
        })
    }

    /// Reached only where nobody told when the statement began.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.reading(MOMENT.get().unwrap_or_else(Utc::now), &args.config_options).map(ColumnarValue::Scalar)
    }
}

/// Whether an expression is a call of one of these functions.
pub fn is_clock(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<Clock>())
}

/// Whether a call of one of these functions asks for the statement's moment, and not for the transaction's.
pub fn is_of_statement(expr: &Expr) -> bool {
    let name = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref::<Clock>().map(|clock| clock.name),
        _ => None,
    };
    matches!(name(expr), Some(PROCTIME | STATEMENT))
}

/// What a call of one of these functions gives at a moment, a `timestamptz`; `None` for other expressions.
pub fn at(expr: &Expr, moment: &Expr) -> Option<Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let result = call.func.inner().downcast_ref::<Clock>()?.result.clone();
    let reading = ScalarUDF::from(ClockAt { result, signature: Signature::any(1, Volatility::Immutable) });
    Some(reading.call(vec![moment.clone()]))
}

/// What the clock reads at a moment.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ClockAt {
    result: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for ClockAt {
    fn name(&self) -> &str {
        "clock_at"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new("clock_at", self.result.clone(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let moments = args.args[0].to_array(args.number_rows)?;
        let (from, to) = (Field::new("", timestamptz(), false), Field::new("", self.result.clone(), false));
        let zone = session_zone(&args.config_options).map_err(carried)?;
        let read = cast(&moments, &from, &to, Purpose::Explicit, &zone).map_err(carried)?;
        Ok(ColumnarValue::Array(read))
    }
}
