//! Real clients against the toy backend: tokio-postgres in its binary format, and psql.

mod toy;

use std::collections::HashMap;
use std::process::Command;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use toy::Server;

async fn connect(server: &Server) -> Client {
    let config = format!("host=127.0.0.1 port={} user=me dbname=test", server.port);
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("a login");
    tokio::spawn(connection);
    client
}

/// Sends a value as a binary parameter, and gets it back as a binary result.
async fn echo<T>(client: &Client, sql_type: &str, value: T)
where
    T: ToSql + Sync + for<'a> FromSql<'a> + PartialEq + std::fmt::Debug,
{
    let row = client.query_one(&format!("echo {sql_type}"), &[&value]).await.expect(sql_type);
    assert_eq!(row.get::<_, T>(0), value, "{sql_type}");
}

#[tokio::test]
async fn binary_values_survive_the_round_trip() {
    let server = Server::start().await;
    let client = connect(&server).await;
    echo(&client, "bool", Some(true)).await;
    echo(&client, "int2", -7i16).await;
    echo(&client, "int4", i32::MIN).await;
    echo(&client, "int8", Some(i64::MAX)).await;
    echo(&client, "int8", None::<i64>).await;
    echo(&client, "float4", 1.5f32).await;
    echo(&client, "float8", -1e300f64).await;
    echo(&client, "text", "grün \\ \"".to_owned()).await;
    echo(&client, "varchar", String::new()).await;
    echo(&client, "bytea", vec![0u8, 255, 7]).await;
    echo(&client, "oid", 4_000_000_000u32).await;
    echo(&client, "jsonb", serde_json::json!({"a": [1, null]})).await;
    echo(&client, "json", serde_json::json!([true])).await;
    echo(&client, "date", chrono::NaiveDate::from_ymd_opt(-44, 3, 15).unwrap()).await;
    echo(&client, "time", chrono::NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999).unwrap()).await;
    let timestamp = chrono::DateTime::from_timestamp(-7_000_000_000, 123_000).unwrap();
    echo(&client, "timestamp", timestamp.naive_utc()).await;
    echo(&client, "timestamptz", timestamp).await;
    echo(&client, "int4[]", vec![Some(1), None, Some(3)]).await;
    echo(&client, "text[]", Vec::<String>::new()).await;
    echo(&client, "timestamptz[]", vec![timestamp]).await;
    echo(&client, "jsonb[]", vec![serde_json::json!(1)]).await;
}

#[tokio::test]
async fn statements_pipelines_and_transactions() {
    let server = Server::start().await;
    let mut client = connect(&server).await;
    let add = client.prepare("add").await.unwrap();
    assert_eq!(add.params().len(), 2);
    let sums = (0..50).map(|n| {
        let (client, add) = (&client, &add);
        async move { client.query_one(add, &[&n, &n]).await.unwrap().get::<_, i32>(0) }
    });
    let sums: Vec<i32> = futures::future::join_all(sums).await;
    assert_eq!(sums, (0..50).map(|n| 2 * n).collect::<Vec<_>>());

    let error = client.query_one(&add, &[&i32::MAX, &1]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22003");

    let transaction = client.transaction().await.unwrap();
    let rows = transaction.prepare("rows 5").await.unwrap();
    let portal = transaction.bind(&rows, &[]).await.unwrap();
    assert_eq!(transaction.query_portal(&portal, 3).await.unwrap().len(), 3);
    assert_eq!(transaction.query_portal(&portal, 3).await.unwrap().len(), 2);
    transaction.commit().await.unwrap();

    let messages = client.simple_query("rows 1; done").await.unwrap();
    let texts: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["0"]);
}

#[tokio::test]
async fn copy_both_ways() {
    use futures::{SinkExt, TryStreamExt};
    let server = Server::start().await;
    let client = connect(&server).await;
    let sink = client.copy_in("copy in").await.unwrap();
    futures::pin_mut!(sink);
    sink.send(bytes::Bytes::from_static(b"1\n2\n")).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 2);
    let chunks: Vec<bytes::Bytes> = client.copy_out("copy out 3").await.unwrap().try_collect().await.unwrap();
    assert_eq!(chunks.concat(), b"0\n1\n2\n");
}

#[tokio::test]
async fn cancelling_from_another_connection() {
    let server = Server::start().await;
    let client = connect(&server).await;
    let token = client.cancel_token();
    let hanging = tokio::spawn(async move { client.simple_query("hang").await });
    server.running(1).await;
    token.cancel_query(NoTls).await.unwrap();
    assert_eq!(hanging.await.unwrap().unwrap_err().code().unwrap().code(), "57014");
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_talks_to_it() {
    if Command::new("psql").arg("--version").output().is_err() {
        eprintln!("psql is not installed: nothing to test");
        return;
    }
    let server = Server::start().await;
    let psql = |statements: &[&str]| {
        let environment: HashMap<_, _> =
            [("PGHOST", "127.0.0.1".to_owned()), ("PGPORT", server.port.to_string())].into();
        let mut command = Command::new("psql");
        command.envs(environment).args(["-X", "-A", "-t", "-U", "me", "-d", "test"]);
        statements.iter().for_each(|statement| _ = command.args(["-c", statement]));
        let output = command.output().expect("psql runs");
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(psql(&["rows 2; done", "copy out 2"]), ("0\n1\nDONE\n0\n1\n".to_owned(), String::new()));
    let (_, error) = psql(&["fail"]);
    assert!(error.contains("ERROR:  division by zero") && error.contains("HINT:  A hint."), "{error}");
}
