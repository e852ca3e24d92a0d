//! Brokers for tests: the client's own mock cluster, or a real one.

use arrow::datatypes::{Schema, SchemaRef};
use millrace_connectors::{BadRecord, Poll, Source, SplitReader};
use millrace_sqllogictest::broker::Broker;
use millrace_types::{Offset, Result, SqlType, field_of};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{Message, TopicPartitionList};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(30);

/// The key or the value of a record.
pub type Part = Option<Vec<u8>>;

/// A record by its partition, key and value.
type Given<'a> = (i32, Option<&'a str>, Option<&'a [u8]>);

/// Some brokers, and the name of a topic that nobody else uses.
pub struct Cluster {
    pub servers: String,
    pub topic: String,
    _mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Cluster {
    /// On the mock cluster; or on the broker that `MILLRACE_KAFKA` names.
    pub fn new(name: &str, partitions: i32) -> Cluster {
        if let Ok(servers) = std::env::var("MILLRACE_KAFKA") {
            return Cluster::at(servers, name, partitions);
        }
        let topic = format!("{name}-{}", uuid::Uuid::new_v4());
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic(&topic, partitions, 1).unwrap();
        Cluster { servers: mock.bootstrap_servers(), topic, _mock: Some(mock) }
    }

    /// On a real broker, for what the mock cluster does not do: it shows what a transaction gave up.
    pub fn real(name: &str, partitions: i32) -> Cluster {
        static BROKER: OnceLock<Broker> = OnceLock::new();
        let started = || BROKER.get_or_init(|| Broker::start().unwrap()).servers();
        Cluster::at(std::env::var("MILLRACE_KAFKA").unwrap_or_else(|_| started()), name, partitions)
    }

    fn at(servers: String, name: &str, partitions: i32) -> Cluster {
        let topic = format!("{name}-{}", uuid::Uuid::new_v4());
        let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
        let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
        let made = futures::executor::block_on(admin.create_topics([&new], &AdminOptions::new()));
        made.unwrap().remove(0).unwrap();
        Cluster { servers, topic, _mock: None }
    }

    pub fn options(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let given = [("connector", "kafka"), ("topic", &self.topic), ("properties.bootstrap.server", &self.servers)];
        given.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    pub fn send(&self, records: &[Given]) {
        let bytes = |(partition, key, value): &Given| {
            (*partition, key.map(|key| key.as_bytes().to_vec()), value.map(<[u8]>::to_vec))
        };
        self.send_bytes(&records.iter().map(bytes).collect::<Vec<_>>());
    }

    pub fn send_bytes(&self, records: &[(i32, Part, Part)]) {
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &self.servers).create().unwrap();
        for (partition, key, value) in records {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(*partition);
            (record.key, record.payload) = (key.as_deref(), value.as_deref());
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// All keys and values of partition 0, in order, as texts.
    pub fn read(&self) -> Vec<(Option<String>, Option<String>)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        self.read_bytes().into_iter().map(|(key, value)| (key.map(text), value.map(text))).collect()
    }

    /// All keys and values of partition 0, in order.
    pub fn read_bytes(&self) -> Vec<(Part, Part)> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("group.id", "test").set("enable.partition.eof", "true");
        config.set("isolation.level", "read_committed");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.topic, 0, rdkafka::Offset::Beginning).unwrap();
        consumer.assign(&assignment).unwrap();
        let mut records = vec![];
        loop {
            match consumer.poll(PATIENCE).unwrap() {
                Ok(message) => {
                    records.push((message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec)));
                }
                Err(KafkaError::PartitionEOF(_)) => return records,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub fn schema(columns: &[(&str, SqlType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, sql_type)| field_of(*name, sql_type, true)).collect::<Vec<_>>()))
}

pub fn id_and_name() -> SchemaRef {
    schema(&[("id", SqlType::Int8), ("name", SqlType::Text)])
}

/// What a reader finds up to the present end, as lines.
pub fn drain(reader: &mut dyn SplitReader) -> Result<(Vec<String>, Vec<BadRecord>, Offset)> {
    let (mut lines, mut bad, mut end) = (vec![], vec![], Offset::default());
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE);
        match reader.poll(7)? {
            Poll::Chunk(chunk) => {
                end = chunk.end;
                for row in 0..chunk.rows.num_rows() {
                    let gone = chunk.deletes.as_ref().is_some_and(|deletes| deletes.value(row));
                    let value = |column: &arrow::array::ArrayRef| {
                        arrow::util::display::array_value_to_string(column, row).unwrap()
                    };
                    let values: Vec<_> = chunk.rows.columns().iter().map(value).collect();
                    lines.push(format!("{}{}", if gone { "-" } else { "" }, values.join("|")));
                }
                bad.extend(chunk.bad);
            }
            Poll::Waiting(trouble) => {
                assert!(trouble.is_none(), "{trouble:?}");
                reader.wait();
            }
            Poll::Pending | Poll::Finished => return Ok((lines, bad, end)),
        }
    }
}

pub fn open(source: &Arc<dyn Source>, split: usize, from: u64, columns: &[usize]) -> Box<dyn SplitReader> {
    source.open(&source.splits().unwrap()[split], Offset(from), columns).unwrap()
}
