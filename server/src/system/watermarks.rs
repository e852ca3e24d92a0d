//! `millrace.watermarks`: how far time has come, and what holds it back.

use super::relations::{Columns, OperatorRow, number, text};
use crate::coordinator::{Published, RelationTime, SplitPhase, SplitTime};
use crate::database::Database;
use arrow::array::{ArrayRef, IntervalMonthDayNanoArray, TimestampMicrosecondArray};
use arrow::datatypes::IntervalMonthDayNano;
use millrace_catalog::Relation;
use std::sync::Arc;

/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// A source or table, one of its splits, or what is made from them.
struct Line<'a> {
    relation: &'a Relation,
    split: Option<&'a SplitTime>,
    watermark: Option<i64>,
    state: &'static str,
    /// The split that holds it back, and the relation that this is a split of.
    holder: Option<(&'a Relation, &'a SplitTime)>,
    /// How far that is behind the farthest split.
    behind: Option<i64>,
    words: Option<String>,
}

/// A line for each split of each source or table with a watermark, one for each of these, and one for each view, sink or
/// other job that is made from them.
pub fn fill(_: &Database, published: &Published, _: &[OperatorRow]) -> Columns {
    let catalog = &published.catalog;
    let lines: Vec<Line> = catalog
        .relations()
        .filter(|relation| catalog.is_watermarked(relation.id))
        .flat_map(|relation| match &relation.watermark {
            Some(_) => of_input(published, relation),
            None => vec![of_job(published, relation)],
        })
        .collect();
    let moments = |values: &mut dyn Iterator<Item = Option<i64>>| -> ArrayRef {
        Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let spans = lines.iter().map(|line| line.behind.map(interval)).collect::<IntervalMonthDayNanoArray>();
    vec![
        ("schema_name", text(lines.iter().map(|line| Some(&line.relation.schema)))),
        ("relation", text(lines.iter().map(|line| Some(&line.relation.name)))),
        ("kind", text(lines.iter().map(|line| Some(line.relation.kind.noun())))),
        ("split", text(lines.iter().map(|line| line.split.map(|split| &split.name)))),
        ("watermark", moments(&mut lines.iter().map(|line| line.watermark))),
        ("state", text(lines.iter().map(|line| Some(line.state)))),
        ("held_by_relation", text(lines.iter().map(|line| line.holder.map(|(relation, _)| &relation.name)))),
        ("held_by_split", text(lines.iter().map(|line| line.holder.map(|(_, split)| &split.name)))),
        ("behind", Arc::new(spans)),
        ("rows", number(lines.iter().map(|line| line.split.map(|split| split.rows as i64)))),
        ("late_rows", number(lines.iter().map(|line| line.split.map(|split| split.late as i64)))),
        ("future_rows", number(lines.iter().map(|line| line.split.map(|split| split.ahead as i64)))),
        ("reason", text(lines.iter().map(|line| line.words.as_ref()))),
    ]
}

/// A source or table, after its splits.
fn of_input<'a>(published: &'a Published, relation: &'a Relation) -> Vec<Line<'a>> {
    let empty = || Line { relation, split: None, watermark: None, state: "", holder: None, behind: None, words: None };
    let Some(time) = published.times.get(&relation.id) else {
        let words = Some(format!("nothing reads {}", relation.name));
        return vec![Line { state: "not read", words, ..empty() }];
    };
    let splits = time.splits.values().map(|split| Line {
        split: Some(split),
        watermark: split.watermark,
        state: split.state.word(),
        behind: behind(time, split),
        words: of_split(split),
        ..empty()
    });
    let mut lines: Vec<Line> = splits.collect();
    let holder = time.holder().map(|split| (relation, split));
    lines.push(Line {
        watermark: time.watermark.map(|watermark| watermark.0),
        state: state(time),
        holder,
        behind: holder.and_then(|(_, split)| behind(time, split)),
        words: reason(relation, time),
        ..empty()
    });
    lines
}

/// What is made from relations with watermarks.
fn of_job<'a>(published: &'a Published, relation: &'a Relation) -> Line<'a> {
    let (watermark, from) = published.watermark(relation.id);
    let input = from.and_then(|from| Some((published.catalog.get(from)?, published.times.get(&from))));
    let time = input.and_then(|(_, time)| time);
    let holder = input.and_then(|(input, time)| Some((input.as_ref(), time?.holder()?)));
    let building = published.building.contains(&relation.id);
    Line {
        relation,
        split: None,
        watermark: watermark.map(|watermark| watermark.0),
        state: if building { "building" } else { time.map_or("not read", state) },
        holder,
        behind: holder.and_then(|(_, split)| behind(time?, split)),
        words: match (building, input) {
            (true, _) => Some(format!("{} still reads what was there before it", relation.name)),
            (false, Some((input, Some(time)))) => reason(input, time),
            (false, Some((input, None))) => Some(format!("nothing reads {}", input.name)),
            (false, None) => None,
        },
    }
}

fn state(time: &RelationTime) -> &'static str {
    let in_state = |state| time.splits.values().any(|split| split.state == state);
    let phases = [SplitPhase::Active, SplitPhase::Idle, SplitPhase::Finished];
    phases.into_iter().find(|phase| in_state(*phase)).map_or("no splits", SplitPhase::word)
}

/// How far a split is behind the farthest one of its source.
fn behind(time: &RelationTime, split: &SplitTime) -> Option<i64> {
    Some(time.farthest()?.saturating_sub(split.watermark?))
}

fn of_split(split: &SplitTime) -> Option<String> {
    match (split.state, split.watermark) {
        (SplitPhase::Idle, _) => Some("idle: it holds nothing back".to_owned()),
        (SplitPhase::Finished, _) => Some("read to its end: it holds nothing back".to_owned()),
        (SplitPhase::Active, None) if split.ahead > 0 => Some("all its rows are too far in the future".to_owned()),
        (SplitPhase::Active, None) => Some("no row with a time has come yet".to_owned()),
        (SplitPhase::Active, Some(_)) => None,
    }
}

/// What holds the watermark of a source or table back, in words.
fn reason(relation: &Relation, time: &RelationTime) -> Option<String> {
    let Some(split) = time.holder() else {
        let all = if state(time) == "finished" { "read to their ends" } else { "idle" };
        return (!time.splits.is_empty()).then(|| format!("all splits of {} are {all}", relation.name));
    };
    let name = format!("split \"{}\" of {}", split.name, relation.name);
    match (split.watermark, behind(time, split)) {
        (None, _) => Some(format!("{name}: {}", of_split(split).unwrap_or_default())),
        (_, Some(behind)) if behind > 0 => Some(format!("{name}, {} behind", words(behind))),
        _ => None,
    }
}

/// A span of time in words: its two largest units.
fn words(micros: i64) -> String {
    let units = [("d", DAY), ("h", DAY / 24), ("min", DAY / 1440), ("s", 1_000_000), ("ms", 1000)];
    let mut left = micros;
    let mut parts = vec![];
    for (name, length) in units {
        let count = left / length;
        left %= length;
        if count > 0 {
            parts.push(format!("{count} {name}"));
        }
        if parts.len() == 2 || (!parts.is_empty() && count == 0) {
            break;
        }
    }
    if parts.is_empty() { format!("{micros} us") } else { parts.join(" ") }
}

/// A span of microseconds as an interval of days and time.
pub fn interval(micros: i64) -> IntervalMonthDayNano {
    IntervalMonthDayNano::new(0, (micros / DAY) as i32, micros % DAY * 1000)
}
