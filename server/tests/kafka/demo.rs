//! The pipeline that `docker compose up` starts.

use crate::cluster::{Server, create_topic, read_all, run, servers, wait_for, wait_until};
use millrace_sqllogictest::registry::Registry;

#[tokio::test]
async fn the_pipeline_of_the_composition_runs() {
    let registry = Registry::start().unwrap();
    for topic in ["demo-bids", "demo-channels"] {
        create_topic(topic, 2).await;
    }
    let text = include_str!("../../../demo/kafka.sql")
        .replace("kafka:9092", &servers())
        .replace("http://registry:8081", &registry.url())
        .replace("topic = 'bids'", "topic = 'demo-bids'")
        .replace("topic = 'channels'", "topic = 'demo-channels'");
    let server = Server::start();
    let client = server.client().await;
    run(&client, &[&text]).await;
    run(&client, &[&text]).await;
    wait_for(&client, "SELECT sum(bids) > 1000 AND count(*) > 3 FROM channels", &["t"]).await;
    wait_until("the channels", || read_all("demo-channels").len() > 4).await;
    wait_for(&client, "SELECT count(*) FROM millrace.sinks WHERE state <> 'running'", &["0"]).await;
    wait_for(&client, "SELECT count(*) FROM millrace.bad_records", &["0"]).await;
}
