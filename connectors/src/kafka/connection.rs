//! The way to a cluster: client configuration from options, errors in SQL's words, and what a topic looks like.

use crate::options::Options;
use millrace_types::{Result, SqlError, SqlState};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::Duration;

/// How long a request that a statement waits for may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The name under which all options `properties.*` are handed to the client.
pub(super) const PROPERTIES: &str = "properties.<property>";
/// The one that says where the cluster is.
pub(super) const SERVERS: &str = "properties.bootstrap.server";

/// Where a topic is, and how clients get there.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub topic: String,
    properties: Vec<(String, String)>,
}

impl Connection {
    /// The connection that options describe.
    pub fn new(options: &Options) -> Result<Connection> {
        let topic = options.text("topic").unwrap_or_default();
        if topic.is_empty() {
            return Err(options.invalid("topic", "The name of a topic is not empty."));
        }
        let given = options.all_of(PROPERTIES).map(|(name, value)| (name.to_owned(), value));
        let servers = options.text(SERVERS).map(|servers| ("bootstrap.servers".to_owned(), servers));
        Ok(Connection { topic, properties: given.chain(servers).collect() })
    }

    /// The way to another topic of the cluster.
    pub fn to(&self, topic: &str) -> Connection {
        Connection { topic: topic.to_owned(), ..self.clone() }
    }

    /// A client's configuration: ours, and what the options say on top.
    fn config(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "millrace").set_log_level(RDKafkaLogLevel::Warning);
        // What is reported again and again while a cluster is away is said once, by the source.
        config.set("log.connection.close", "false");
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "2000");
        for (name, value) in ours {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// The configuration of a consumer that is told what to read. `reset` says where it goes when the place is gone.
    pub fn consumer(&self, reset: &str) -> ClientConfig {
        let ours = [
            ("group.id", "millrace"),
            ("isolation.level", "read_committed"),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "100"),
            // Little at a time, so that what one thread has received another finds in the processor's caches.
            ("max.partition.fetch.bytes", "262144"),
            ("queued.min.messages", "4000"),
            ("queued.max.messages.kbytes", "4096"),
            ("topic.metadata.refresh.interval.ms", "30000"),
            ("statistics.interval.ms", "1000"),
        ];
        let mut config = self.config(&ours);
        // What the reader relies on, whatever the options say.
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", reset);
        config
    }

    /// The configuration of a producer.
    pub fn producer(&self, ours: &[(&str, &str)]) -> ClientConfig {
        // How large a record may be is for the broker to say.
        let limit = [("message.max.bytes", "1000000000")];
        self.config(&[&limit, ours].concat())
    }

    /// Whether the options name a consumer group.
    pub fn has_group(&self) -> bool {
        self.properties.iter().any(|(name, _)| name == "group.id")
    }

    /// A consumer for questions only.
    pub fn inquirer(&self) -> Result<BaseConsumer> {
        self.consumer("error").create().map_err(|error| self.error("connect to", &error))
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// `08006` when no broker answers, `42704` when there is no such topic.
    pub fn partitions(&self, client: &BaseConsumer) -> Result<u32> {
        self.partitions_of(client, &self.topic)
    }

    /// How many partitions a topic has.
    pub fn partitions_of(&self, client: &BaseConsumer, topic: &str) -> Result<u32> {
        let metadata =
            client.fetch_metadata(Some(topic), PATIENCE).map_err(|error| self.error("read the metadata of", &error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(missing(topic));
        };
        match found.error().map(RDKafkaErrorCode::from) {
            Some(code) => Err(self.error("read the metadata of", &KafkaError::MetadataFetch(code))),
            None if found.partitions().is_empty() => Err(missing(topic)),
            None => Ok(found.partitions().len() as u32),
        }
    }

    /// An error of the client as a statement shows it; connection errors are of class 08.
    pub fn error(&self, doing: &str, error: &KafkaError) -> SqlError {
        let code = error.rdkafka_error_code();
        let state = match code {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return missing(&self.topic);
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed) => {
                SqlState::INSUFFICIENT_PRIVILEGE
            }
            Some(RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::Authentication) => {
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            }
            _ if matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) => {
                SqlState::INVALID_PARAMETER_VALUE
            }
            _ => SqlState::CONNECTION_FAILURE,
        };
        let servers = self.properties.iter().find(|(name, _)| name == "bootstrap.servers");
        let servers = servers.map_or("", |(_, servers)| servers);
        let message = format!("could not {doing} Kafka topic \"{}\" at {servers}: {}", self.topic, reason(error));
        SqlError::new(state, message)
    }
}

fn missing(topic: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("Kafka topic \"{topic}\" does not exist"))
        .with_hint("Create the topic first; the server makes none by itself.")
}

/// What went wrong, in librdkafka's words.
fn reason(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, description, name, value) => format!("{description} ({name} = \"{value}\")"),
        KafkaError::ClientCreation(reason) => reason.clone(),
        KafkaError::Transaction(error) => error.to_string(),
        error => error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string()),
    }
}
