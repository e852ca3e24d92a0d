//! Topics of a real Apache Kafka broker in and out.

#[path = "server/process.rs"]
#[expect(dead_code, reason = "the tests of the server use more of it")]
mod process;

#[path = "kafka/cluster.rs"]
mod cluster;
#[path = "kafka/crashes.rs"]
mod crashes;
#[path = "kafka/demo.rs"]
mod demo;
#[path = "kafka/event_time.rs"]
mod event_time;
#[path = "kafka/sinks.rs"]
mod sinks;
#[path = "kafka/sources.rs"]
mod sources;
#[path = "kafka/transfers.rs"]
mod transfers;
