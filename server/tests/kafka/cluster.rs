//! The broker that all tests share, and a client of it.

use crate::process::{Process, binary, free_port};
use millrace_sqllogictest::broker::Broker;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_postgres::{Client, SimpleQueryMessage};

/// How long something may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where the broker is that the tests of this process share; it ends with it.
pub fn servers() -> String {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| Broker::start().unwrap()).servers()
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

fn admin(servers: &str) -> AdminClient<DefaultClientContext> {
    config(servers).create().unwrap()
}

/// Makes a topic.
pub async fn create_topic(name: &str, partitions: i32) {
    create_topic_at(&servers(), name, partitions).await;
}

/// Makes a topic of another broker than the shared one.
pub async fn create_topic_at(servers: &str, name: &str, partitions: i32) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let made = admin(servers).create_topics([&topic], &AdminOptions::new()).await.unwrap();
    made.into_iter().for_each(|topic| drop(topic.unwrap()));
}

/// Makes a topic have more partitions.
pub async fn grow_topic(name: &str, partitions: usize) {
    let grown = NewPartitions::new(name, partitions);
    let grown = admin(&servers()).create_partitions([&grown], &AdminOptions::new()).await.unwrap();
    grown.into_iter().for_each(|topic| drop(topic.unwrap()));
}

/// Deletes the records of a partition before an offset.
pub async fn delete_records(topic: &str, partition: i32, before: i64) {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
    admin(&servers()).delete_records(&offsets, &AdminOptions::new()).await.unwrap();
}

/// A producer of records.
pub struct Out(BaseProducer);

impl Out {
    pub fn new() -> Out {
        Out::at(&servers())
    }

    /// A producer for another broker than the shared one.
    pub fn at(servers: &str) -> Out {
        Out(config(servers).set("linger.ms", "1").set("message.max.bytes", "33554432").create().unwrap())
    }

    /// Sends a record; keys and values may be absent.
    pub fn send(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.send_with(topic, partition, key, value, None);
    }

    pub fn send_with(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
    ) {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        record.key = key;
        record.payload = value;
        record.headers = headers;
        loop {
            match self.0.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(rdkafka::error::RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    self.0.poll(Duration::from_millis(10));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }

    /// Waits until all is there.
    pub fn flush(&self) {
        self.0.flush(PATIENCE).unwrap();
    }
}

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Option<String>,
}

/// All committed records of a topic, partition by partition.
pub fn read_all(topic: &str) -> Vec<Seen> {
    read_all_at(&servers(), topic)
}

/// All committed records of a topic of another broker than the shared one.
pub fn read_all_at(servers: &str, topic: &str) -> Vec<Seen> {
    let mut config = config(servers);
    config.set("group.id", "test").set("isolation.level", "read_committed").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let count = metadata.topics()[0].partitions().len();
    let mut assignment = TopicPartitionList::new();
    // Where partitions end now: one that is written all the time may never be read to its end.
    let mut ends = vec![];
    for partition in 0..count as i32 {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        ends.push(consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap().1);
    }
    consumer.assign(&assignment).unwrap();
    let (mut seen, mut ended) = (vec![], std::collections::BTreeSet::new());
    let begun = Instant::now();
    while ended.len() < count {
        assert!(begun.elapsed() < PATIENCE, "topic {topic} has no end");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                if message.offset() + 1 >= ends[message.partition() as usize] {
                    ended.insert(message.partition());
                }
                seen.push(Seen {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(text),
                    value: message.payload().map(text),
                });
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    seen.sort_by_key(|record| (record.partition, record.offset));
    seen
}

/// A server over a folder of its own.
pub struct Server {
    pub process: Process,
    flags: &'static [&'static str],
    folder: TempDir,
}

impl Server {
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// A server that is started with these flags, each time.
    pub fn with(flags: &'static [&'static str]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        Server { process: process(&folder, flags), flags, folder }
    }

    pub async fn client(&self) -> Client {
        self.process.client().await
    }

    /// Ends the server as a crash does, and starts it again.
    pub fn crash(&mut self) {
        self.process.kill();
        self.process = process(&self.folder, self.flags);
    }
}

fn process(folder: &TempDir, flags: &[&str]) -> Process {
    let port = free_port();
    let mut command = binary();
    command.args(["--workers", "2", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(folder.path());
    command.args(flags);
    Process::start(command, port)
}

/// The rows that a query answers, columns separated by bars.
pub async fn rows(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(
            (0..row.len()).map(|column| row.get(column).unwrap_or("NULL").to_owned()).collect::<Vec<_>>().join("|"),
        ),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// Waits until a query answers these rows.
pub async fn wait_for(client: &Client, query: &str, wanted: &[&str]) {
    let begun = Instant::now();
    loop {
        let found = rows(client, query).await;
        if found == wanted {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{query}: wanted {wanted:?}, found {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The state and message of the error that a statement ends with.
pub async fn error(client: &Client, statement: &str) -> (String, String) {
    let error = client.simple_query(statement).await.expect_err(statement);
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error}"));
    (error.code().code().to_owned(), error.message().to_owned())
}

/// The rows by key that a topic of FORMAT UPSERT comes to.
pub fn upserted(records: &[Seen]) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for Seen { key, value, .. } in records {
        let key = key.clone().unwrap();
        match value {
            Some(value) => drop(rows.insert(key, value.clone())),
            None => assert!(rows.remove(&key).is_some(), "a tombstone for a row that is not there"),
        }
    }
    rows
}

/// Waits until a topic holds what it shall.
pub async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs statements one by one.
pub async fn run(client: &Client, statements: &[&str]) {
    for statement in statements {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}
