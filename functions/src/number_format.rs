//! `to_char` of numbers and `to_number`: templates like `FM9,999.00MI`.

mod input;
mod output;
mod template;

use crate::function::{Call, Overload, Scale, immutable};
use crate::operators::decimal::{power_of_ten, rescale, scale_of};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ScalarUDF;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use output::Number;
use template::Template;

const TEXT: SqlType = SqlType::Text;

/// `to_number`; [`overloads`] are those of `to_char`.
pub fn functions() -> Vec<ScalarUDF> {
    vec![immutable("to_number", &[], vec![Overload::numeric(&[TEXT, TEXT], PLACES, to_number)])]
}

/// `to_char` of every type of number.
pub fn overloads() -> Vec<Overload> {
    vec![
        Overload::new(&[SqlType::Int4, TEXT], TEXT, |call| {
            formatted(call, |row, template| Ok(whole(call.value::<Int32Type>(0, row).into(), template)))
        }),
        Overload::new(&[SqlType::Int8, TEXT], TEXT, |call| {
            formatted(call, |row, template| Ok(whole(call.value::<Int64Type>(0, row).into(), template)))
        }),
        Overload::new(&[SqlType::Numeric(None), TEXT], TEXT, |call| {
            let scale = scale_of(call.arrays[0].data_type());
            formatted(call, |row, template| decimal(call.value::<Decimal128Type>(0, row), scale, template))
        }),
        Overload::new(&[SqlType::Float4, TEXT], TEXT, |call| {
            formatted(call, |row, template| Ok(float(call.value::<Float32Type>(0, row).into(), 6, template)))
        }),
        Overload::new(&[SqlType::Float8, TEXT], TEXT, |call| {
            formatted(call, |row, template| Ok(float(call.value::<Float64Type>(0, row), 15, template)))
        }),
    ]
}

fn formatted(call: &Call, number: impl Fn(usize, &mut Template) -> Result<Number>) -> Result<ArrayRef> {
    call.texts(|row| {
        let pattern = call.text(1).value(row);
        let mut template = Template::parse(pattern)?;
        let number = number(row, &mut template)?;
        Ok(Some(output::written(&template, number)))
    })
}

fn whole(value: i128, template: &Template) -> Number {
    if template.scientific {
        return Number::scientific_exact(value, 0, template.after);
    }
    let value = value * power_of_ten(template.shifted as u32);
    Number::new(value < 0, value.unsigned_abs().to_string(), template.after)
}

fn decimal(value: i128, scale: i8, template: &Template) -> Result<Number> {
    if template.scientific {
        return Ok(Number::scientific_exact(value, scale, template.after));
    }
    let scale = scale - template.shifted as i8;
    let after = template.after.min(38) as i8;
    let rounded = rescale(value, scale, after).ok_or_else(crate::operators::decimal::overflow)?;
    let digits = rounded.unsigned_abs().to_string();
    let width = after as usize + 1;
    let digits = format!("{digits:0>width$}");
    let (whole, fraction) = digits.split_at(digits.len() - after as usize);
    Ok(Number { negative: rounded < 0, whole: whole.to_owned(), fraction: fraction.to_owned() })
}

/// A float of so many significant digits: what is beyond them is not written.
fn float(value: f64, significant: usize, template: &mut Template) -> Number {
    if template.scientific {
        return Number::scientific(value, template.after);
    }
    let value = value * 10f64.powi(template.shifted as i32);
    let digits = format!("{:.0}", value.abs()).len();
    template.after = template.after.min(significant.saturating_sub(digits));
    let text = format!("{:.*}", template.after, value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    Number { negative: value < 0.0, whole: whole.to_owned(), fraction: fraction.to_owned() }
}

/// As many digits after the point as a constant template has.
const PLACES: Scale = |_, constants| {
    let pattern = constants.get(1).copied().flatten().and_then(|value: &ScalarValue| value.try_as_str().flatten());
    let template = pattern.and_then(|pattern| Template::parse(pattern).ok());
    (38, template.map_or(SqlType::NUMERIC_SCALE, |template| (template.after + template.shifted).min(38) as i8))
};

fn to_number(call: &Call) -> Result<ArrayRef> {
    let scale = match call.result.data_type() {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    call.values::<Decimal128Type>(|row| {
        let template = Template::parse(call.text(1).value(row))?;
        let text = input::number_in(call.text(0).value(row), &template);
        let value = crate::casts::decimal_of(&text, 38, scale)?;
        let moved = rescale(value, scale + template.shifted as i8, scale);
        moved.map(Some).ok_or_else(crate::operators::decimal::overflow)
    })
}

fn misplaced(message: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, message)
}
