//! The type that values of two types have in common, as in the columns of a UNION.

use millrace_types::SqlType;

/// The common type of two; `None` when there is none. Within a kind of types it is the one that takes in the other.
pub fn common_type(left: &SqlType, right: &SqlType) -> Option<SqlType> {
    use SqlType::*;
    if left == right {
        return Some(left.clone());
    }
    match (left, right) {
        (Unknown, other) | (other, Unknown) => Some(other.clone()),
        (Array(left), Array(right)) => match without_modifier(left) == without_modifier(right) {
            true => Some(Array(Box::new(without_modifier(left)))),
            false => None,
        },
        _ => numbers(left, right).or_else(|| texts(left, right)).or_else(|| ranked(TIMES, left, right)),
    }
}

/// Later ones take in earlier ones.
const TIMES: &[SqlType] = &[SqlType::Date, SqlType::Timestamp, SqlType::Timestamptz];
const NUMBERS: &[SqlType] =
    &[SqlType::Int2, SqlType::Int4, SqlType::Int8, SqlType::Numeric(None), SqlType::Float4, SqlType::Float8];

fn without_modifier(sql_type: &SqlType) -> SqlType {
    match sql_type {
        SqlType::Varchar(_) => SqlType::Varchar(None),
        SqlType::Bpchar(_) => SqlType::Bpchar(None),
        SqlType::Numeric(_) => SqlType::Numeric(None),
        other => other.clone(),
    }
}

/// Each text type takes in the others: the first one counts.
fn texts(left: &SqlType, right: &SqlType) -> Option<SqlType> {
    use SqlType::{Bpchar, Name, Text, Varchar};
    let is_text = |sql_type: &SqlType| matches!(sql_type, Bpchar(_) | Name | Text | Varchar(_));
    (is_text(left) && is_text(right)).then(|| without_modifier(left))
}

fn ranked(kind: &[SqlType], left: &SqlType, right: &SqlType) -> Option<SqlType> {
    let place = |sql_type: &SqlType| kind.iter().position(|known| *known == without_modifier(sql_type));
    Some(kind[place(left)?.max(place(right)?)].clone())
}

/// Numerics keep the digits of both sides, behind the point as well as before it.
fn numbers(left: &SqlType, right: &SqlType) -> Option<SqlType> {
    let common = ranked(NUMBERS, left, right)?;
    if common != SqlType::Numeric(None) {
        return Some(common);
    }
    let scale = |sql_type: &SqlType| match sql_type {
        SqlType::Numeric(Some((_, scale))) => *scale,
        SqlType::Numeric(None) => SqlType::NUMERIC_SCALE,
        _ => 0,
    };
    let (left_scale, right_scale) = (scale(left), scale(right));
    match left_scale.max(right_scale) {
        scale if scale > SqlType::NUMERIC_SCALE || left_scale == right_scale => {
            Some(SqlType::Numeric(Some((38, scale))))
        }
        // Values of different scales are shown with the digits that they have.
        _ => Some(SqlType::Numeric(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_meet_as_in_postgres() {
        use SqlType::*;
        for (left, right, common) in [
            (Int4, Int8, Some(Int8)),
            (Int4, Float4, Some(Float4)),
            (Numeric(Some((6, 2))), Float8, Some(Float8)),
            (Numeric(Some((6, 2))), Int4, Some(Numeric(None))),
            (Numeric(Some((6, 2))), Numeric(Some((8, 2))), Some(Numeric(Some((38, 2))))),
            (Varchar(Some(3)), Varchar(Some(4)), Some(Varchar(None))),
            (Date, Timestamptz, Some(Timestamptz)),
            (Int4, Text, None),
            (Date, Time, None),
            (Bool, Int4, None),
            (Array(Box::new(Int4)), Array(Box::new(Int8)), None),
        ] {
            assert_eq!(common_type(&left, &right), common, "{left} and {right}");
            assert_eq!(common_type(&right, &left), common, "{right} and {left}");
        }
        // Of texts the first counts.
        assert_eq!(common_type(&Varchar(Some(3)), &Text), Some(Varchar(None)));
        assert_eq!(common_type(&Text, &Varchar(Some(3))), Some(Text));
    }
}
