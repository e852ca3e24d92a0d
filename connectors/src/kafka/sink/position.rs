//! Where a sink stands in its topic: the text that a checkpoint keeps of it.

use super::super::start::Start;
use super::resume::Identity;
use millrace_types::{Result, SqlError, SqlState};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where the sink's records begin in each topic that has some.
pub(super) type Starts = BTreeMap<String, Start>;
/// Behind the last record of each topic and partition.
pub(super) type Ends = BTreeMap<String, BTreeMap<u32, u64>>;

/// At these ends where they are farther.
pub(super) fn advanced(starts: &Starts, ends: &Ends) -> Starts {
    let none = BTreeMap::new();
    starts.iter().map(|(topic, start)| (topic.clone(), start.advanced(ends.get(topic).unwrap_or(&none)))).collect()
}

/// As a JSON object.
pub(super) fn starts_value(starts: &Starts) -> Value {
    starts.iter().map(|(topic, start)| (topic.clone(), Value::from(start.text()))).collect::<Map<_, _>>().into()
}

/// What [`starts_value`] made.
pub(super) fn starts_of(value: &Value) -> Option<Starts> {
    let start = |(topic, start): (&String, &Value)| Some((topic.clone(), Start::parse(start.as_str()?)?));
    value.as_object()?.iter().map(start).collect()
}

/// Everything before it is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The first record of each topic and partition that may come after it.
    pub starts: Starts,
    /// How many records were committed in all, if the sink counts them.
    pub committed: u64,
    /// Records before these offsets whose rows are still to come again, and how often.
    pub ahead: Vec<(Identity, u32)>,
}

impl Position {
    /// As text.
    pub fn text(&self) -> String {
        let ahead: Vec<_> = self.ahead.iter().map(|((high, low), count)| json!([high, low, count])).collect();
        json!({"topics": starts_value(&self.starts), "committed": self.committed, "ahead": ahead}).to_string()
    }

    /// What [`Position::text`] wrote.
    ///
    /// # Errors
    /// `XX001` when it is something else.
    pub fn parse(text: &str) -> Result<Position> {
        let read = || {
            let value: Value = serde_json::from_str(text).ok()?;
            let ahead = value.get("ahead")?.as_array()?.iter().map(|entry| {
                let number = |at: usize| entry.get(at)?.as_u64();
                Some(((number(0)?, number(1)?), u32::try_from(number(2)?).ok()?))
            });
            Some(Position {
                starts: starts_of(value.get("topics")?)?,
                committed: value.get("committed")?.as_u64()?,
                ahead: ahead.collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| SqlError::new(SqlState::DATA_CORRUPTED, "where a Kafka sink stood cannot be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back() {
        let start = Start::parse("partition:0,offset:42;partition:1,offset:7").unwrap();
        let starts = BTreeMap::from([("a".to_owned(), start), ("b".to_owned(), Start::default())]);
        let ends = BTreeMap::from([("a".to_owned(), BTreeMap::from([(0, 40), (1, 9), (2, 1)]))]);
        let position = Position { starts: advanced(&starts, &ends), committed: 3, ahead: vec![((u64::MAX, 1), 2)] };
        let texts: Vec<_> = position.starts.values().map(Start::text).collect();
        assert_eq!(texts, ["partition:0,offset:42;partition:1,offset:9;partition:2,offset:1", ""]);
        assert_eq!(Position::parse(&position.text()).unwrap(), position);
        assert_eq!(Position::parse("{}").unwrap_err().state(), SqlState::DATA_CORRUPTED);
    }
}
