//! A scalar function of ours: a name, its overloads by Postgres types, and the choice among them.

use crate::error::carried;
use crate::operators::arithmetic::{numeric_like, precision_of};
use crate::time_zone::session_zone;
use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanBuilder, PrimitiveBuilder, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use millrace_types::{Result, SqlError, SqlState, SqlType, field_of};
use std::sync::Arc;

/// Computes the column of a call.
type Body = Box<dyn Fn(&Call) -> Result<ArrayRef> + Send + Sync>;

/// Precision and scale of a numeric result, from the arguments' types and from those values that are constant.
pub type Scale = fn(&[DataType], &[Option<&ScalarValue>]) -> (u8, i8);

/// One way to call a function.
pub struct Overload {
    /// Types of the arguments; `Unknown` takes any.
    pub takes: &'static [SqlType],
    /// Whether the last argument may come any number of times, but at least once.
    pub variadic: bool,
    /// The type of the result. Numerics: their precision and scale are computed by `scale`.
    pub gives: SqlType,
    /// Precision and scale of a numeric result from the arguments' types.
    pub scale: Option<Scale>,
    /// Computes the column.
    pub run: Body,
}

impl Overload {
    /// A fixed number of arguments and a fixed result.
    pub fn new(
        takes: &'static [SqlType],
        gives: SqlType,
        run: impl Fn(&Call) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> Overload {
        Overload { takes, variadic: false, gives, scale: None, run: Box::new(run) }
    }

    /// The last argument may come any number of times.
    pub fn variadic(
        takes: &'static [SqlType],
        gives: SqlType,
        run: impl Fn(&Call) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> Overload {
        Overload { takes, variadic: true, gives, scale: None, run: Box::new(run) }
    }

    /// A numeric result.
    pub fn numeric(
        takes: &'static [SqlType],
        scale: Scale,
        run: impl Fn(&Call) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> Overload {
        Overload { takes, variadic: false, gives: SqlType::Numeric(None), scale: Some(scale), run: Box::new(run) }
    }

    fn parameter(&self, at: usize) -> Option<&'static SqlType> {
        match self.takes.get(at) {
            None if self.variadic => self.takes.last(),
            found => found,
        }
    }

    /// What the arguments become, and how well they fit; `None` when they do not.
    fn fit(&self, types: &[DataType]) -> Option<(u32, Vec<DataType>)> {
        if types.len() < self.takes.len() || (types.len() > self.takes.len() && !self.variadic) {
            return None;
        }
        let fits = types.iter().enumerate().map(|(at, given)| fit(given, self.parameter(at)?));
        let fits: Vec<_> = fits.collect::<Option<_>>()?;
        Some((fits.iter().map(|(score, _)| score).sum(), fits.into_iter().map(|(_, data_type)| data_type).collect()))
    }
}

/// How well a type fits a parameter, and what it becomes. A `Utf8` is a literal, whose type is open.
fn fit(given: &DataType, parameter: &SqlType) -> Option<(u32, DataType)> {
    use DataType::*;
    let wanted = parameter.arrow();
    let score = match (given, parameter) {
        (Utf8, SqlType::Unknown) => return Some((1, Utf8View)),
        (_, SqlType::Unknown) => return Some((1, given.clone())),
        (Decimal128(..) | Decimal256(..), SqlType::Numeric(_)) => {
            let (precision, scale) = precision_of(given)?;
            return Some((8, Decimal128(precision, scale)));
        }
        (_, SqlType::Numeric(_)) if given.is_integer() => {
            let (precision, scale) = precision_of(given)?;
            return Some((3, Decimal128(precision, scale)));
        }
        _ if *given == wanted => 8,
        (Utf8 | LargeUtf8, _) if wanted == Utf8View => 8,
        (Null, _) => 4,
        (Utf8, _) => 2,
        (Int8 | Int16 | UInt8, SqlType::Int4 | SqlType::Int8) => 6,
        (UInt16 | Int32 | UInt32 | UInt64, SqlType::Int8) => 6,
        // A count that does not fit is an error of the cast.
        (Int64, SqlType::Int4) => 1,
        (Float32, SqlType::Float8) => 6,
        (_, SqlType::Float8) if given.is_numeric() => 4,
        // Moments are preferred, as in Postgres.
        (Date32, SqlType::Timestamptz) => 5,
        (Date32, SqlType::Timestamp) | (Timestamp(_, None), SqlType::Timestamptz) => 4,
        (Timestamp(_, Some(_)), SqlType::Timestamptz) | (Timestamp(_, None), SqlType::Timestamp) => 7,
        (LargeBinary | BinaryView, SqlType::Bytea) => 7,
        _ => return None,
    };
    Some((score, wanted))
}

/// A call being evaluated: every argument as a column of `rows` rows.
pub struct Call<'a> {
    pub arrays: Vec<ArrayRef>,
    pub fields: &'a [FieldRef],
    pub result: &'a Field,
    pub rows: usize,
    pub zone: Tz,
}

impl Call<'_> {
    /// A text argument.
    pub fn text(&self, at: usize) -> &StringViewArray {
        self.arrays[at].as_string_view()
    }

    /// The value of a number or time argument.
    pub fn value<T: ArrowPrimitiveType>(&self, at: usize, row: usize) -> T::Native {
        self.arrays[at].as_primitive::<T>().value(row)
    }

    /// How many arguments there are.
    pub fn count(&self) -> usize {
        self.arrays.len()
    }

    fn any_null(&self, row: usize) -> bool {
        self.arrays.iter().any(|array| is_null(array, row))
    }

    /// A column of texts; rows with a NULL argument give NULL.
    pub fn texts<S: AsRef<str>>(&self, f: impl Fn(usize) -> Result<Option<S>>) -> Result<ArrayRef> {
        let mut builder = StringViewBuilder::with_capacity(self.rows);
        for row in 0..self.rows {
            let value = if self.any_null(row) { None } else { f(row)? };
            builder.append_option(value);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// A column of fixed-width values; rows with a NULL argument give NULL.
    pub fn values<T: ArrowPrimitiveType>(&self, f: impl Fn(usize) -> Result<Option<T::Native>>) -> Result<ArrayRef> {
        let mut builder =
            PrimitiveBuilder::<T>::with_capacity(self.rows).with_data_type(self.result.data_type().clone());
        for row in 0..self.rows {
            let value = if self.any_null(row) { None } else { f(row)? };
            builder.append_option(value);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// A column of booleans; rows with a NULL argument give NULL.
    pub fn booleans(&self, f: impl Fn(usize) -> Result<Option<bool>>) -> Result<ArrayRef> {
        let mut builder = BooleanBuilder::with_capacity(self.rows);
        for row in 0..self.rows {
            builder.append_option(if self.any_null(row) { None } else { f(row)? });
        }
        Ok(Arc::new(builder.finish()))
    }
}

/// Whether a value is NULL, also in a column of nothing else.
pub fn is_null(array: &ArrayRef, row: usize) -> bool {
    array.data_type() == &DataType::Null || array.is_null(row)
}

/// The only value of a column. An array keeps what its elements' field says.
pub fn scalar_of(array: &ArrayRef) -> Result<ScalarValue, DataFusionError> {
    match array.as_list_opt::<i32>() {
        Some(list) => Ok(ScalarValue::List(Arc::new(list.clone()))),
        None => ScalarValue::try_from_array(array, 0),
    }
}

/// A function: its name and its overloads.
#[derive(Debug)]
pub struct Function {
    name: &'static str,
    aliases: Vec<String>,
    overloads: Vec<Overload>,
    signature: Signature,
}

impl std::fmt::Debug for Overload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} -> {}", self.takes, self.gives)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl std::hash::Hash for Function {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// A function that gives the same for the same arguments.
pub fn immutable(name: &'static str, aliases: &[&str], overloads: Vec<Overload>) -> ScalarUDF {
    of_volatility(name, aliases, overloads, Volatility::Immutable)
}

/// A function of some volatility.
pub fn of_volatility(
    name: &'static str,
    aliases: &[&str],
    overloads: Vec<Overload>,
    volatility: Volatility,
) -> ScalarUDF {
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    let nullary = overloads.iter().any(|o| o.takes.is_empty());
    let signature = match nullary {
        true => Signature::one_of(
            vec![
                datafusion::logical_expr::TypeSignature::Nullary,
                datafusion::logical_expr::TypeSignature::UserDefined,
            ],
            volatility,
        ),
        false => Signature::user_defined(volatility),
    };
    ScalarUDF::from(Function { name, aliases, overloads, signature })
}

/// Whether a function takes a text constant for a value of the type that it wants there.
pub fn takes_open_texts(function: &ScalarUDF) -> bool {
    function.inner().is::<Function>()
}

impl Function {
    fn result_type(&self, types: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
        let (overload, types) = self.choose(types)?;
        Ok(match overload.scale {
            Some(scale) => {
                let (precision, scale) = scale(&types, constants);
                DataType::Decimal128(precision, scale)
            }
            None => overload.gives.arrow(),
        })
    }

    fn choose(&self, types: &[DataType]) -> Result<(&Overload, Vec<DataType>)> {
        let fits = self.overloads.iter().filter_map(|overload| Some((overload, overload.fit(types)?)));
        // The first of equals wins: overloads stand in order of preference.
        let best = fits.reduce(|best, next| if next.1.0 > best.1.0 { next } else { best });
        best.map(|(overload, (_, types))| (overload, types)).ok_or_else(|| no_such_function(self.name, types))
    }
}

/// `42883` for a function of arguments that it does not take.
pub fn no_such_function(name: &str, types: &[DataType]) -> SqlError {
    let names: Vec<_> = types.iter().map(type_name).collect();
    let message = format!("function {name}({}) does not exist", names.join(", "));
    SqlError::new(SqlState::UNDEFINED_FUNCTION, message)
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

fn type_name(data_type: &DataType) -> String {
    match SqlType::from_arrow(data_type) {
        // A literal, whose type is open.
        _ if data_type == &DataType::Utf8 => "unknown".to_owned(),
        SqlType::Numeric(_) => "numeric".to_owned(),
        other => other.to_string(),
    }
}

impl ScalarUDFImpl for Function {
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
        self.result_type(types, &[]).map_err(carried)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef, DataFusionError> {
        let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let (overload, _) = self.choose(&types).map_err(carried)?;
        let result = self.result_type(&types, args.scalar_arguments).map_err(carried)?;
        let field = match overload.scale {
            Some(_) => numeric_like(args.arg_fields, Field::new(self.name, result, true)),
            None => field_of(self.name, &overload.gives, true),
        };
        Ok(field.into())
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        // Unfitting types stay as they are, so that the error of `return_type` is seen: one of here would come as text.
        Ok(self.choose(types).map_or_else(|_| types.to_vec(), |(_, types)| types))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
            && self.signature.volatility != Volatility::Volatile;
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>, _>>()?;
        let types: Vec<_> = arrays.iter().map(|array| array.data_type().clone()).collect();
        let (overload, _) = self.choose(&types).map_err(carried)?;
        let zone = session_zone(&args.config_options).map_err(carried)?;
        let call = Call { arrays, fields: &args.arg_fields, result: &args.return_field, rows, zone };
        let array = (overload.run)(&call).map_err(carried)?;
        match constant {
            true => scalar_of(&array).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}
