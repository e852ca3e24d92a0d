//! Sinks go on after a crash where they stood at a checkpoint, and what they are made from is not read again.

use super::restoring::{World, overwrite, rows};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A world with sinks: of all lines over a door and over a view, of what changes, and one that keeps nothing.
async fn world() -> World {
    let world = World::new().await;
    let file = |name: &str, more: &str| {
        format!("WITH (connector = 'file', path = '{}'{more})", world.files.path().join(name).display())
    };
    for statement in [
        "CREATE MATERIALIZED VIEW doubled AS SELECT v * 2 AS d FROM events".to_owned(),
        format!("CREATE SINK doubled_out FROM doubled {}", file("doubled.csv", "")),
        format!("CREATE SINK counts AS SELECT k, count(*) AS n FROM events GROUP BY k {}", {
            file("counts.csv", ", changes = 'true', header = 'true'")
        }),
        format!("CREATE TABLE door (v bigint) {}", file("door.csv", "")),
        "INSERT INTO door SELECT v FROM events".to_owned(),
        "CREATE SINK nowhere FROM sums WITH (connector = 'blackhole')".to_owned(),
        "FLUSH".to_owned(),
    ] {
        world.run(&statement).await;
    }
    world
}

/// The lines of a file, when there are so many; its last ones are written a little later than they are read.
async fn lines(path: &Path, count: usize, place: &str) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap();
        let found = text.lines().count();
        if found >= count && text.ends_with('\n') {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{place}: {} has {found} of {count} lines", path.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What counts come to, if each change fits to what is there.
fn counted(changes: &[String]) -> BTreeMap<String, String> {
    let mut counts = BTreeMap::new();
    for change in changes {
        let parts: Vec<_> = change.split(',').map(str::to_owned).collect();
        let (key, count) = (parts[1].clone(), parts[2].clone());
        match parts[0].as_str() {
            "+" => assert_eq!(counts.insert(key, count), None, "{change}"),
            _ => assert_eq!(counts.remove(&key), Some(count), "{change}"),
        }
    }
    counts
}

async fn check(world: &World, first: i64, place: &str) {
    let path = |name: &str| world.files.path().join(name);
    let total = world.lines as usize;
    let value = |line: usize| if line == 0 { first } else { line as i64 };
    let wanted: Vec<_> = (0..total).map(|line| value(line).to_string()).collect();
    assert_eq!(lines(&path("door.csv"), total, place).await, wanted, "{place}");
    // What is there when a sink is made has no order.
    let mut wanted: Vec<_> = (0..total).map(|line| (value(line) * 2).to_string()).collect();
    let mut found = lines(&path("doubled.csv"), total, place).await;
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted, "{place}");
    let begun = Instant::now();
    loop {
        let changes = lines(&path("counts.csv"), 1, place).await;
        assert_eq!(changes[0], "op,k,n", "{place}");
        // What is taken back stands before what comes in its place.
        let counts = counted(&changes[1..]);
        if counts.values().all(|count| *count == (total / 10).to_string()) && counts.len() == 10 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{place}: {counts:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let failed = rows(&world.client, "SELECT name, error FROM millrace.sinks WHERE state <> 'running'").await;
    assert!(failed.is_empty(), "{place}: {failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_stays_and_nothing_comes_twice() {
    let mut world = world().await;
    check(&world, 0, "at first").await;
    world.append(200);
    world.run("FLUSH").await;
    // Some of it is delivered, and not all of that for good.
    world.run("CHECKPOINT").await;
    overwrite(&world.file());
    world.append(500);
    world.run("FLUSH").await;
    check(&world, 0, "before the crash").await;
    for (round, workers) in [2, 2, 1, 2].into_iter().enumerate() {
        world.restart(workers).await;
        check(&world, 0, &format!("after crash {round} with {workers} workers")).await;
        let log = world.server.log();
        assert!(log.contains("views go on from the last checkpoint"), "{log}");
        assert!(!log.contains("made anew") && !log.contains("handed over again"), "{log}");
        world.append(100);
        world.run("FLUSH").await;
        if round != 1 {
            world.run("CHECKPOINT").await;
        }
        world.append(100);
    }
    check(&world, 0, "in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_whose_file_is_gone_begins_anew() {
    let mut world = world().await;
    check(&world, 0, "at first").await;
    world.run("CHECKPOINT").await;
    world.append(100);
    world.run("FLUSH").await;
    world.server.kill();
    fs::write(world.files.path().join("counts.csv"), "op,k").unwrap();
    world.restart(2).await;
    check(&world, 0, "after the crash").await;
    assert!(world.server.log().contains("all is handed over again"), "{}", world.server.log());
    world.append(100);
    world.run("CHECKPOINT").await;
    world.restart(2).await;
    check(&world, 0, "after another crash").await;
    assert!(!world.server.log().contains("handed over again"), "{}", world.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_and_jobs_go_back_with_the_database() {
    let mut world = world().await;
    let path = |name: &str| world.files.path().join(name);
    let (labels, since) = (path("labels.csv"), path("since.csv"));
    let sink = |name: &str, of: &str, to: &Path| {
        let to = to.display();
        format!("CREATE SINK {name} FROM {of} WITH (connector = 'file', path = '{to}', changes = 'true')")
    };
    world.run(&sink("labels_out", "labels", &labels)).await;
    world.append(200);
    world.run("FLUSH").await;
    check(&world, 0, "at first").await;
    world.run("CREATE SNAPSHOT first").await;
    let jobs = "SELECT name, kind, state FROM millrace.jobs";
    let before = rows(&world.client, jobs).await;
    world.append(500);
    for statement in [
        "FLUSH",
        "UPDATE labels SET label = 'later'",
        "DROP SINK counts",
        &sink("since", "sums", &since),
        "DROP TABLE door CASCADE",
        "CHECKPOINT",
    ] {
        world.run(statement).await;
    }
    lines(&labels, 8 + 16, "before going back").await;
    lines(&since, 10, "before going back").await;

    world.run("RESTORE FROM SNAPSHOT first").await;
    world.run("FLUSH").await;
    check(&world, 0, "after going back").await;
    let found = lines(&labels, 8, "after going back").await;
    assert!(found.len() == 8 && found.iter().all(|line| line.starts_with('+')), "{found:?}");
    // A sink that did not exist yet is gone; what it has written is not.
    let found = rows(&world.client, "SELECT name FROM millrace.sinks").await;
    assert_eq!(found, ["counts", "door", "doubled_out", "labels_out", "nowhere"]);
    assert_eq!(lines(&since, 10, "after going back").await.len(), 10);
    assert_eq!(rows(&world.client, jobs).await, before);

    world.run("UPDATE labels SET label = 'otherwise' WHERE k = 0").await;
    world.append(100);
    world.restart(2).await;
    check(&world, 0, "after a crash").await;
    let found = lines(&labels, 10, "after a crash").await;
    assert!(found.len() == 10 && found[9].contains("otherwise"), "{found:?}");
}
