//! Hypothetical-set aggregates: where a row would stand among those of the group, as `rank(5) WITHIN GROUP (ORDER BY x)`.
//!
//! They share their names with window functions, so that the syntax gives them [names of their own](INTERNAL).

use super::collections::settled;
use super::gathered::Definition;
use super::sorted::{Sorted, comparable};
use arrow::array::{ArrayRef, Float64Array, Int64Array, make_comparator};
use arrow::datatypes::{DataType, Field, FieldRef};
use millrace_types::Result;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// The names in SQL, and those by which they are known here.
pub const INTERNAL: [(&str, &str); 4] = [
    ("rank", "rank_within_group"),
    ("dense_rank", "dense_rank_within_group"),
    ("percent_rank", "percent_rank_within_group"),
    ("cume_dist", "cume_dist_within_group"),
];

/// The definitions of this family.
pub static DEFINITIONS: &[Definition] = &[
    Definition {
        name: INTERNAL[0].1,
        aliases: &[],
        resolve: |fields| resolve(fields, DataType::Int64),
        skips_nulls: false,
        within_group: true,
        finish: |rows| whole(rows, |standing| standing.before + 1),
    },
    Definition {
        name: INTERNAL[1].1,
        aliases: &[],
        resolve: |fields| resolve(fields, DataType::Int64),
        skips_nulls: false,
        within_group: true,
        finish: |rows| whole(rows, |standing| standing.different + 1),
    },
    Definition {
        name: INTERNAL[2].1,
        aliases: &[],
        resolve: |fields| resolve(fields, DataType::Float64),
        skips_nulls: false,
        within_group: true,
        finish: |rows| fraction(rows, |s| if s.rows == 0 { 0.0 } else { s.before as f64 / s.rows as f64 }),
    },
    Definition {
        name: INTERNAL[3].1,
        aliases: &[],
        resolve: |fields| resolve(fields, DataType::Float64),
        skips_nulls: false,
        within_group: true,
        finish: |rows| fraction(rows, |s| (s.before + s.equal + 1) as f64 / (s.rows + 1) as f64),
    },
];

fn resolve(fields: &[FieldRef], result: DataType) -> Option<(Vec<DataType>, Field)> {
    let [value, _] = fields else { return None };
    Some((vec![settled(value.data_type()); 2], Field::new("", result, true)))
}

/// How the rows of a group stand to the hypothetical one.
#[derive(Default)]
struct Standing {
    rows: i64,
    before: i64,
    /// The different values before it.
    different: i64,
    equal: i64,
}

fn whole(rows: &Sorted<'_>, value: impl Fn(Standing) -> i64) -> Result<ArrayRef> {
    let values = standings(rows)?.into_iter().map(value);
    Ok(Arc::new(Int64Array::from_iter_values(values)))
}

fn fraction(rows: &Sorted<'_>, value: impl Fn(Standing) -> f64) -> Result<ArrayRef> {
    let values = standings(rows)?.into_iter().map(value);
    Ok(Arc::new(Float64Array::from_iter_values(values)))
}

fn standings(rows: &Sorted<'_>) -> Result<Vec<Standing>> {
    let (values, hypothetical) = (comparable(rows.argument(0)), comparable(rows.argument(1)));
    let options = rows.options.first().copied().unwrap_or_default();
    let to_hypothetical = make_comparator(&values, &hypothetical, options)?;
    let to_other = make_comparator(&values, &values, options)?;
    let standing = |group: Range<usize>| {
        let mut standing = Standing { rows: group.len() as i64, ..Standing::default() };
        for row in group.clone() {
            match to_hypothetical(row, row) {
                Ordering::Less => {
                    standing.before += 1;
                    let is_new = row == group.start || to_other(row - 1, row).is_ne();
                    standing.different += i64::from(is_new);
                }
                Ordering::Equal => standing.equal += 1,
                Ordering::Greater => break,
            }
        }
        standing
    };
    Ok(rows.groups().map(standing).collect())
}
