//! Where reading begins. Every start mode is turned into offsets when the source is made, and these are written down: a
//! source that is read again after a restart begins where it began at first, however much time has passed.

use super::connection::{Connection, PATIENCE};
use crate::options::Options;
use millrace_types::{Result, SqlError};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;

/// The option that holds the offsets once they are known.
pub(super) const SETTLED: &str = "start.offsets";

/// The first offset of each partition; partitions that came later begin at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Start(BTreeMap<u32, u64>);

impl Start {
    /// What was written down.
    pub fn settled(options: &Options) -> Result<Start> {
        let text = options.text(SETTLED).unwrap_or_default();
        Start::parse(&text)
            .ok_or_else(|| options.invalid(SETTLED, "It is like partition:0,offset:42;partition:1,offset:7."))
    }

    /// The offset at which a partition begins.
    pub fn of(&self, partition: u32) -> u64 {
        self.0.get(&partition).copied().unwrap_or(0)
    }

    /// What [`Start::text`] wrote.
    pub fn parse(text: &str) -> Option<Start> {
        parse(text).map(Start)
    }

    /// As text.
    pub fn text(&self) -> String {
        let parts = self.0.iter().map(|(partition, offset)| format!("partition:{partition},offset:{offset}"));
        parts.collect::<Vec<_>>().join(";")
    }

    /// At these offsets where they are farther.
    pub fn advanced(&self, ends: &BTreeMap<u32, u64>) -> Start {
        let mut offsets = self.0.clone();
        for (partition, end) in ends {
            let known = offsets.entry(*partition).or_default();
            *known = (*known).max(*end);
        }
        Start(offsets)
    }

    /// Asks the cluster what the start mode means now, as the text of [`SETTLED`].
    pub fn settle(options: &Options, connection: &Connection) -> Result<String> {
        let client = connection.inquirer()?;
        let count = connection.partitions(&client)?;
        let mode = options.text("scan.startup.mode").unwrap_or_default();
        let given = match options.text("scan.startup.specific-offsets") {
            Some(text) => parse(&text).ok_or_else(|| {
                options.invalid(
                    "scan.startup.specific-offsets",
                    "It is like partition:0,offset:42;partition:1,offset:7, or 0:42,1:7.",
                )
            })?,
            None => BTreeMap::new(),
        };
        let time = options.integer("scan.startup.timestamp.millis");
        if mode == "timestamp" && time.is_none() {
            let detail = "The start mode \"timestamp\" needs the option scan.startup.timestamp.millis.";
            return Err(options.invalid("scan.startup.mode", detail));
        }
        if mode == "specific-offsets" && given.is_empty() {
            let detail = "The start mode \"specific-offsets\" needs the option scan.startup.specific-offsets.";
            return Err(options.invalid("scan.startup.mode", detail));
        }
        if let Some(partition) = given.keys().find(|partition| **partition >= count) {
            let detail = format!("The topic has {count} partitions, but no partition {partition}.");
            return Err(options.invalid("scan.startup.specific-offsets", detail));
        }
        let at_time = match (&mode[..], time) {
            ("timestamp", Some(time)) => offsets_at(connection, &client, count, time)?,
            _ => BTreeMap::new(),
        };
        let mut start = Start::default();
        for partition in 0..count {
            let (low, high) = client
                .fetch_watermarks(&connection.topic, partition as i32, PATIENCE)
                .map_err(|error| connection.error("read the offsets of", &error))?;
            let offset = match &mode[..] {
                "latest" | "latest-offset" => high,
                "timestamp" => at_time.get(&partition).map_or(high, |offset| *offset as i64),
                "specific-offsets" => given.get(&partition).map_or(low, |offset| *offset as i64),
                _ => low,
            };
            start.0.insert(partition, offset as u64);
        }
        Ok(start.text())
    }
}

impl Start {
    /// Where the topic ends now.
    pub fn ends(connection: &Connection) -> Result<Start> {
        let client = connection.inquirer()?;
        let end = |partition: u32| {
            let failed = |error| connection.error("read the offsets of", &error);
            let (_, high) = client.fetch_watermarks(&connection.topic, partition as i32, PATIENCE).map_err(failed)?;
            Ok((partition, high as u64))
        };
        Ok(Start((0..connection.partitions(&client)?).map(end).collect::<Result<_>>()?))
    }
}

/// The offsets of the first records that are not older than a time, in milliseconds since 1970.
fn offsets_at(connection: &Connection, client: &BaseConsumer, count: u32, time: i64) -> Result<BTreeMap<u32, u64>> {
    let failed = |error| -> SqlError { connection.error("read the offsets of", &error) };
    let mut asked = TopicPartitionList::new();
    for partition in 0..count {
        asked.add_partition_offset(&connection.topic, partition as i32, Offset::Offset(time)).map_err(failed)?;
    }
    let found = client.offsets_for_times(asked, PATIENCE).map_err(failed)?;
    let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => Some((element.partition() as u32, offset as u64)),
        _ => None,
    };
    Ok(found.elements().iter().filter_map(offset).collect())
}

/// `partition:0,offset:42;partition:1,offset:7` or `0:42,1:7`.
fn parse(text: &str) -> Option<BTreeMap<u32, u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(BTreeMap::new());
    }
    if !text.contains("partition") {
        let pair = |part: &str| {
            let (partition, offset) = part.split_once(':')?;
            Some((partition.trim().parse().ok()?, offset.trim().parse().ok()?))
        };
        return text.split([',', ';']).map(pair).collect();
    }
    let pair = |part: &str| {
        let (partition, offset) = part.split_once(',')?;
        let partition = partition.trim().strip_prefix("partition:")?.trim().parse().ok()?;
        Some((partition, offset.trim().strip_prefix("offset:")?.trim().parse().ok()?))
    };
    text.split(';').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_in_both_spellings() {
        let wanted = BTreeMap::from([(0, 42), (1, 7)]);
        assert_eq!(parse("partition:0,offset:42;partition:1,offset:7"), Some(wanted.clone()));
        assert_eq!(parse("0:42, 1:7"), Some(wanted));
        assert_eq!(parse(""), Some(BTreeMap::new()));
        assert_eq!(parse("0"), None);
        assert_eq!(parse("partition:0;offset:1"), None);
    }
}
