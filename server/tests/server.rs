//! The binary as a process: what it refuses, how it ends, and what a crash leaves.

#[path = "server/arrivals.rs"]
mod arrivals;
#[path = "server/checkpoints.rs"]
mod checkpoints;
#[path = "server/event_time.rs"]
mod event_time;
#[path = "server/formats.rs"]
mod formats;
#[path = "server/isolation.rs"]
mod isolation;
#[path = "server/look_ups.rs"]
mod look_ups;
#[path = "server/memory.rs"]
mod memory;
#[path = "server/nexmark.rs"]
mod nexmark;
#[path = "server/object_store.rs"]
mod object_store;
#[path = "server/process.rs"]
mod process;
#[path = "server/restore.rs"]
mod restore;
#[path = "server/restoring.rs"]
mod restoring;
#[path = "server/s3.rs"]
mod s3;
#[path = "server/sinks.rs"]
mod sinks;

use process::{Process, binary, free_port, wait};
use std::collections::BTreeSet;
use std::fs;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tempfile::tempdir;
use tokio_postgres::Client;

fn run(arguments: &[&str]) -> Output {
    wait(binary().args(arguments))
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_tells_the_settings_and_bad_ones_are_refused() {
    let help = run(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success());
    for flag in ["--listen", "--data-dir", "--workers", "--config", "--log"] {
        assert!(text.contains(flag), "{flag} in {text}");
    }
    for (arguments, message) in [
        (&["--lisen", "127.0.0.1:1"][..], "--lisen"),
        (&["--listen", "nowhere"], "listen"),
        (&["--workers", "0"], "workers must be between 1 and 1024"),
        (&["--workers", "many"], "many"),
        (&["--listen", "0.0.0.0:0"], "--trust-network"),
        (&["--config", "/nonexistent/millrace.toml"], "millrace.toml"),
        (&["--log", "millrace=nonsense"], "invalid log filter"),
    ] {
        let refused = run(arguments);
        assert!(!refused.status.success(), "{arguments:?}");
        assert!(error_of(&refused).contains(message), "{arguments:?}: {}", error_of(&refused));
    }
}

#[tokio::test]
async fn settings_come_from_a_file_and_the_environment() {
    let folder = tempdir().unwrap();
    let (file, port, other) = (folder.path().join("millrace.toml"), free_port(), free_port());
    let text =
        format!("listen = '127.0.0.1:{other}'\ndata-dir = '{}'\nworkers = 1\n", folder.path().join("d").display());
    fs::write(&file, text).unwrap();

    let mut command = binary();
    command.env("MILLRACE_CONFIG", &file).env("MILLRACE_LISTEN", format!("127.0.0.1:{port}"));
    let mut server = Process::start(command, port);
    server.client().await.simple_query("SELECT 1").await.unwrap();
    assert!(folder.path().join("d").is_dir(), "the folder is the file's");
    assert!(server.terminate().success());

    fs::write(&file, "lissten = '127.0.0.1:1'\n").unwrap();
    let refused = run(&["--config", file.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(error_of(&refused).contains("lissten"), "{}", error_of(&refused));
}

#[tokio::test]
async fn a_taken_port_or_folder_is_refused() {
    let (first, second) = (tempdir().unwrap(), tempdir().unwrap());
    let mut server = Process::on(first.path(), free_port());
    drop(server.client().await);
    let taken = format!("127.0.0.1:{}", server.port);
    let refused = run(&["--listen", &taken, "--data-dir", second.path().to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(error_of(&refused).contains(&format!("cannot listen on {taken}")), "{}", error_of(&refused));

    let free = format!("127.0.0.1:{}", free_port());
    let refused = run(&["--listen", &free, "--data-dir", first.path().to_str().unwrap()]);
    assert!(!refused.status.success());
    let error = error_of(&refused);
    assert!(error.contains(first.path().to_str().unwrap()) && error.contains("another"), "{error}");

    server.client().await.simple_query("SELECT 1").await.expect("the first one goes on");
    assert!(server.terminate().success());
}

#[tokio::test]
async fn sigterm_ends_it_in_order() {
    let folder = tempdir().unwrap();
    let mut server = Process::on(folder.path(), free_port());
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t").await.unwrap();
    let open = server.client().await;
    open.batch_execute("BEGIN; INSERT INTO t VALUES (2)").await.unwrap();

    let begun = Instant::now();
    assert!(server.terminate().success(), "{}", server.log());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    let server = Process::on(folder.path(), server.port);
    let client = server.client().await;
    let n: i64 = client.query_one("SELECT n FROM v", &[]).await.unwrap().get(0);
    assert_eq!(n, 1, "what was committed, and nothing else");
}

/// Takes checkpoints until the server goes.
async fn take_checkpoints(client: Client) {
    while client.batch_execute("CHECKPOINT").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

const WRITERS: i32 = 4;
const ROUNDS: i32 = 10;

/// Inserts rows with keys of its own until the server goes; gives the keys that were acknowledged.
async fn insert(client: Client, writer: i32, round: i32) -> Vec<i32> {
    let mut acknowledged = vec![];
    for number in 0.. {
        let key = (round * WRITERS + writer) * 100_000 + number;
        match client.execute("INSERT INTO t VALUES ($1, $2)", &[&key, &(key % 7)]).await {
            Ok(_) => acknowledged.push(key),
            Err(error) if error.is_closed() || error.code().is_none() => return acknowledged,
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loses_nothing_acknowledged() {
    let folder = tempdir().unwrap();
    let mut server = Process::on(folder.path(), free_port());
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (k int PRIMARY KEY, g int)").await.unwrap();
    client.batch_execute("CREATE MATERIALIZED VIEW v AS SELECT g, count(*) AS n FROM t GROUP BY g").await.unwrap();

    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut writers = vec![];
        for writer in 0..WRITERS {
            writers.push(tokio::spawn(insert(server.client().await, writer, round)));
        }
        let checkpoints = tokio::spawn(take_checkpoints(server.client().await));
        tokio::time::sleep(Duration::from_millis(100 + 40 * round as u64)).await;
        server.kill();
        checkpoints.await.unwrap();
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        server = Process::on(folder.path(), server.port);
        let client = server.client().await;
        let rows = client.query("SELECT k FROM t", &[]).await.unwrap();
        let stored: BTreeSet<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(stored.len(), rows.len());
        let lost: Vec<_> = acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        let unasked = stored.difference(&acknowledged).count();
        assert!(unasked <= (WRITERS * (round + 1)) as usize, "only what was under way may be there as well: {unasked}");
        acknowledged = stored;

        let query = "SELECT g, count(*) AS n FROM t GROUP BY g";
        let differs =
            format!("(({query}) EXCEPT ALL (SELECT * FROM v)) UNION ALL ((SELECT * FROM v) EXCEPT ALL ({query}))");
        let differing = client.query(&differs, &[]).await.unwrap();
        assert!(differing.is_empty(), "round {round}: the view differs from its query: {differing:?}");
    }
    assert!(acknowledged.len() > (ROUNDS * WRITERS) as usize, "only {} rows were written", acknowledged.len());
}

const ACCOUNTS: i32 = 10;
const TOTAL: i64 = 1000;

/// Moves money between two accounts in one transaction, over and over. Conflicts are tried again with other accounts.
async fn transfer(mut client: Client, seed: i32, stop: Arc<AtomicBool>) -> i64 {
    let mut done = 0;
    for turn in seed.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (from, to) = (turn * 7 % ACCOUNTS, (turn * 3 + 1) % ACCOUNTS);
        if from == to {
            continue;
        }
        let moved = async {
            let transaction = client.transaction().await?;
            transaction.execute("UPDATE accounts SET balance = balance - 1 WHERE id = $1", &[&from]).await?;
            transaction.execute("UPDATE accounts SET balance = balance + 1 WHERE id = $1", &[&to]).await?;
            transaction.commit().await
        };
        match moved.await {
            Ok(()) => done += 1,
            Err(error) => {
                let code = error.code().map(|code| code.code().to_owned());
                match code.as_deref() {
                    Some("40001") => {}
                    None => break,
                    _ => panic!("{error:?}"),
                }
            }
        }
    }
    done
}

/// Reads the total in three ways until told to stop; every read must give it.
async fn watch(client: Client, stop: Arc<AtomicBool>, reads: Arc<AtomicI64>) {
    while !stop.load(Ordering::SeqCst) {
        for query in [
            "SELECT sum(balance)::bigint FROM accounts",
            "SELECT total::bigint FROM totals",
            "SELECT sum(balance)::bigint FROM (SELECT balance FROM rich UNION ALL SELECT balance FROM poor) AS both_of_them",
        ] {
            let total: Option<i64> = match client.query_one(query, &[]).await {
                Ok(row) => row.get(0),
                Err(error) if error.code().is_none() => return,
                Err(error) => panic!("{error:?}"),
            };
            assert_eq!(total, Some(TOTAL), "{query}");
            reads.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_total_of_transfers_is_the_same_in_every_read() {
    let folder = tempdir().unwrap();
    let mut server = Process::on(folder.path(), free_port());
    let client = server.client().await;
    for statement in [
        "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)",
        "CREATE MATERIALIZED VIEW totals AS SELECT sum(balance) AS total FROM accounts",
        "CREATE MATERIALIZED VIEW rich AS SELECT id, balance FROM accounts WHERE balance > 100",
        "CREATE MATERIALIZED VIEW poor AS SELECT id, balance FROM accounts WHERE balance <= 100",
        "INSERT INTO accounts SELECT i, 100 FROM generate_series(0, 9) AS s(i)",
    ] {
        client.batch_execute(statement).await.unwrap();
    }
    for crash in [false, true, true] {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let (mut writers, mut readers) = (vec![], vec![]);
        for seed in 0..3 {
            writers.push(tokio::spawn(transfer(server.client().await, seed, stop.clone())));
        }
        for _ in 0..3 {
            readers.push(tokio::spawn(watch(server.client().await, stop.clone(), reads.clone())));
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        if crash {
            server.kill();
        }
        stop.store(true, Ordering::SeqCst);
        let mut transfers = 0;
        for writer in writers {
            transfers += writer.await.unwrap();
        }
        for reader in readers {
            reader.await.unwrap();
        }
        assert!(transfers > 0 && reads.load(Ordering::SeqCst) > 0, "{transfers} transfers, {reads:?} reads");
        if crash {
            server = Process::on(folder.path(), server.port);
        }
        let once = Arc::new(AtomicBool::new(false));
        let watched = watch(server.client().await, once.clone(), reads.clone());
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            once.store(true, Ordering::SeqCst);
        };
        tokio::join!(watched, stopping);
    }
}
