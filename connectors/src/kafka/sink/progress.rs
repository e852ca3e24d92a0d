//! The progress topic: for each exactly-once sink how much it has delivered, written in the transaction that delivers it.

use super::super::connection::{Connection, PATIENCE};
use super::position::{Starts, starts_of, starts_value};
use millrace_types::{Result, SqlError, SqlState, Tick};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What is written of a sink: how many records it has delivered in all, and where they begin in topics other than its own.
pub(super) fn note(tick: Tick, records: u64, starts: &Starts) -> String {
    let note = json!({"tick": tick.0, "records": records});
    match starts.is_empty() {
        true => note.to_string(),
        false => json!({"tick": tick.0, "records": records, "topics": starts_value(starts)}).to_string(),
    }
}

/// What is known of a sink.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// How many records it has delivered.
    pub records: u64,
    /// Where they begin in topics other than its own.
    pub starts: Starts,
}

impl Known {
    fn parse(note: &[u8]) -> Option<Known> {
        let note: Value = serde_json::from_slice(note).ok()?;
        let starts = note.get("topics").map_or(Some(Starts::new()), starts_of)?;
        Some(Known { records: note.get("records")?.as_u64()?, starts })
    }
}

/// Makes the topic if it is not there.
pub(super) fn ensure(connection: &Connection, topic: &str) -> Result<()> {
    let failed = |error| connection.error("write the progress of", &error);
    let client = connection.inquirer()?;
    match connection.partitions_of(&client, topic) {
        Err(error) if error.state() == SqlState::UNDEFINED_OBJECT => {}
        known => return known.map(drop),
    }
    let admin: AdminClient<DefaultClientContext> = connection.producer(&[]).create().map_err(failed)?;
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let made = futures::executor::block_on(admin.create_topics([&new], &options)).map_err(failed)?;
    match made.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => Err(failed(KafkaError::AdminOp(code))),
        _ => Ok(()),
    }
}

/// What a sink has delivered; `None` if that is nothing yet.
pub(super) fn read(connection: &Connection, topic: &str, id: &str) -> Result<Option<Known>> {
    let failed = |error| connection.error("read the progress of", &error);
    let client: BaseConsumer = connection.consumer("earliest").create().map_err(failed)?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).map_err(failed)?;
    client.assign(&assignment).map_err(failed)?;
    let (mut found, begun) = (None, Instant::now());
    loop {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.key() == Some(id.as_bytes()) => {
                found = message.payload().and_then(Known::parse);
            }
            Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) => return Err(failed(error)),
            None if begun.elapsed() > PATIENCE => {
                let message = format!("could not read Kafka topic \"{topic}\": no broker answers");
                return Err(SqlError::new(SqlState::CONNECTION_FAILURE, message));
            }
            None => {}
        }
    }
}
