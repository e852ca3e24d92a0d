//! Apache Kafka: bids from a real broker against the same bids from files, how fresh views of a topic are, and what
//! sinks that deliver exactly once cost. The broker runs beside the server; only the server's own time is counted.

use crate::bench::Bench;
use crate::nexmark::{BID_COLUMNS, file_source};
use crate::pipeline::{Cost, Pipeline, run};
use crate::report::{Figure, Target, quantile};
use crate::server::{Server, number};
use anyhow::{Context, Result, ensure};
use millrace_connectors::nexmark::Table;
use millrace_sqllogictest::broker::Broker;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

/// Partitions of every topic.
const PARTITIONS: i32 = 4;
/// Records a second while freshness is measured.
const RATE: u64 = 20_000;
/// Seconds before that, in which the broker's virtual machine compiles what is used.
const WARM_UP: u64 = 10;
/// How long a sink may take.
const LONGEST: Duration = Duration::from_secs(300);

/// Every bid into a sink that throws it away: from files, and from a topic.
pub async fn sources(bench: &Bench) -> Result<Vec<Figure>> {
    let broker = &Broker::start_steady()?;
    let events = bench.size(2_000_000, 500_000);
    let path = bench.nexmark_file(Table::Bid, events)?;
    make_topic(broker, "bids").await?;
    let bids = fill(broker, "bids", &path)?;
    let topic = format!("CREATE SOURCE bid ({BID_COLUMNS}) {} FORMAT PLAIN ENCODE JSON", with(broker, "bids"));
    let (mut figures, mut rates) = (vec![], vec![]);
    for (name, source) in [("files", file_source(bench, Table::Bid, events, "")?), ("a topic", topic)] {
        let job = "CREATE SINK q AS SELECT auction, bidder, price, date_time, extra FROM bid \
                   WITH (connector = 'blackhole')";
        let check = ("SELECT sum(records) FROM millrace.splits".to_owned(), format!("SELECT {bids}"));
        let cost: Cost = run(bench, &Pipeline { sources: vec![source], job: job.to_owned(), check }).await?;
        let name = format!("every bid, JSON from {name}");
        figures.push(Figure::new(&name, "M rows per CPU-second", cost.per_cpu_second()));
        figures.push(Figure::new(&name, "M rows per second", cost.per_second()));
        rates.push(cost.per_cpu_second());
    }
    let share = Figure::new("every bid, JSON from a topic", "% of the rate from files", 100.0 * rates[1] / rates[0]);
    figures.push(share.target(Target::AtLeast(70.0)));
    Ok(figures)
}

/// From when a record is handed to the producer until a view shows it.
pub async fn freshness(bench: &Bench) -> Result<Vec<Figure>> {
    let broker = &Broker::start_steady()?;
    make_topic(broker, "ticks").await?;
    let server = Server::start(bench).await?;
    let client = server.connect().await?;
    let source = format!("CREATE SOURCE ticks (n bigint) {} FORMAT PLAIN ENCODE JSON", with(broker, "ticks"));
    client.batch_execute(&source).await?;
    client.batch_execute("CREATE MATERIALIZED VIEW last AS SELECT max(n) AS n, count(*) AS c FROM ticks").await?;
    let read = client.prepare("SELECT n FROM last").await?;
    let begun = Instant::now() + Duration::from_millis(500);
    let count = RATE * (WARM_UP + bench.size(10, 4));
    let sender = {
        let producer = producer(broker, "1")?;
        std::thread::spawn(move || -> Result<()> {
            for n in 0..count {
                while Instant::now() < sent_at(begun, n) {
                    producer.poll(Duration::ZERO);
                    std::thread::sleep(Duration::from_micros(200));
                }
                send(&producer, "ticks", (n % PARTITIONS as u64) as i32, format!("{{\"n\": {n}}}").as_bytes())?;
            }
            Ok(producer.flush(Duration::from_secs(30))?)
        })
    };
    let (mut ages, mut seen) = (vec![], None);
    while seen < Some(count as i64 - 1) {
        ensure!(begun.elapsed() < LONGEST, "the view does not show all records");
        let last: Option<i64> = client.query_one(&read, &[]).await?.get(0);
        if let Some(n) = last.filter(|_| last > seen) {
            if n as u64 > RATE * WARM_UP {
                ages.push(sent_at(begun, n as u64).elapsed());
            }
            seen = last;
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    sender.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
    let name = "a topic of 20,000 records a second";
    let p50 = Figure::new(name, "p50 in us until a view shows a record", quantile(&ages, 0.5));
    let p99 = Figure::new(name, "p99 in us until a view shows a record", quantile(&ages, 0.99));
    Ok(vec![p50.target(Target::AtMost(5_000.0)), p99.target(Target::AtMost(30_000.0))])
}

/// When a record is due.
fn sent_at(begun: Instant, n: u64) -> Instant {
    begun + Duration::from_nanos(n * 1_000_000_000 / RATE)
}

/// Bids of the generator into a topic, at least once and exactly once.
pub async fn sinks(bench: &Bench) -> Result<Vec<Figure>> {
    let broker = &Broker::start_steady()?;
    warm_up(broker).await?;
    let events = bench.size(6_000_000, 2_000_000);
    let (mut figures, mut rates) = (vec![], vec![]);
    for delivery in ["at_least_once", "exactly_once"] {
        let topic = format!("out-{delivery}");
        make_topic(broker, &topic).await?;
        let server = Server::start(bench).await?;
        let client = server.connect().await?;
        let source = crate::nexmark::generator_source(Table::Bid, events);
        client.batch_execute(&source).await?;
        let options = format!("delivery = '{delivery}', commit.interval.ms = '1000'");
        let sink = format!(
            "CREATE SINK out AS SELECT auction, bidder, price, date_time FROM bid {}, {options}) FORMAT PLAIN ENCODE JSON",
            with(broker, &topic).trim_end_matches(')')
        );
        let begun = Instant::now();
        client.batch_execute(&sink).await?;
        let all = number(&client, "SELECT count(*) FROM bid").await?;
        let mut first = None;
        let rate = loop {
            let sent = number(&client, "SELECT rows FROM millrace.sinks").await?;
            let (early, since) = *first.get_or_insert_with(|| (sent, Instant::now()));
            if early == 0 {
                // What a cluster does once for its first transactions is not the sink's rate.
                first = None;
            } else if sent >= all {
                break (all - early) as f64 / since.elapsed().as_secs_f64() / 1e6;
            }
            ensure!(begun.elapsed() < LONGEST, "the sink is not through");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        figures.push(Figure::new(format!("bids into a topic, {delivery}"), "M rows per second", rate));
        rates.push(rate);
    }
    let name = "bids into a topic, exactly_once";
    figures.push(Figure::new(name, "% of at_least_once", 100.0 * rates[1] / rates[0]).target(Target::AtLeast(80.0)));
    Ok(figures)
}

/// Lets the broker's virtual machine compile what writing takes.
async fn warm_up(broker: &Broker) -> Result<()> {
    make_topic(broker, "warm").await?;
    let producer = producer(broker, "5")?;
    for n in 0..1_000_000 {
        send(&producer, "warm", n % PARTITIONS, &[b'x'; 100])?;
    }
    producer.flush(LONGEST).context("the broker does not take the records")
}

fn with(broker: &Broker, topic: &str) -> String {
    format!("WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.servers = '{}')", broker.servers())
}

async fn make_topic(broker: &Broker, name: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", broker.servers()).create()?;
    let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    for made in admin.create_topics([&topic], &AdminOptions::new()).await? {
        made.map_err(|(name, error)| anyhow::anyhow!("topic {name}: {error}"))?;
    }
    Ok(())
}

fn producer(broker: &Broker, linger: &str) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    // As producers do today: few requests on their way at a time, so that what waits goes together.
    config.set("bootstrap.servers", broker.servers()).set("linger.ms", linger).set("enable.idempotence", "true");
    Ok(config.create()?)
}

/// Sends the lines of a file; answers how many there are.
fn fill(broker: &Broker, topic: &str, path: &Path) -> Result<u64> {
    let producer = producer(broker, "50")?;
    let mut count = 0;
    for line in BufReader::new(File::open(path)?).lines() {
        send(&producer, topic, (count % PARTITIONS as u64) as i32, line?.as_bytes())?;
        count += 1;
    }
    producer.flush(Duration::from_secs(60)).context("the broker does not take the records")?;
    Ok(count)
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &[u8]) -> Result<()> {
    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                record = again;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}
