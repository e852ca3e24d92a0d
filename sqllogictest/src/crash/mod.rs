//! Crash testing: a server is killed at random moments, while it starts as well, under writers, transfers, definitions,
//! checkpoints, a growing file and readers. After each start it must show what it acknowledged: all of it, nothing by
//! half, nothing that nobody asked for, and every view as its query.
//!
//! What is done and when is chosen by a seed; how far the server gets meanwhile is up to the machine.

mod definitions;
mod events;
mod ledger;
mod transfers;

use crate::{Server, difference};
use anyhow::{Context, Result, ensure};
use definitions::Definitions;
use events::Events;
use ledger::Writer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// How long a start may take until the first query is answered.
const START: Duration = Duration::from_secs(60);
const WRITERS: i64 = 3;
const TRANSFERRERS: u64 = 2;

/// What a run does.
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// How many crashes.
    pub rounds: u64,
}

/// What a run has done.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Transactions that were acknowledged.
    pub transactions: u64,
    /// Definitions that were acknowledged.
    pub definitions: u64,
    /// Reads of totals, each of which was right.
    pub reads: u64,
    /// Crashes while the server was starting.
    pub starts: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { transactions, definitions, reads, starts } = self;
        write!(
            f,
            "{transactions} transactions, {definitions} definitions, {reads} reads, {starts} crashes while starting"
        )
    }
}

/// Runs it over a server of its own; `progress` hears of each round.
///
/// # Errors
/// What was not as it must be, with the round and the server's log.
pub async fn run(binary: &Path, options: &Options, progress: impl Fn(u64, &Tally)) -> Result<Tally> {
    let mut server = Server::start_with(binary, vec!["--checkpoint-log-mib", "1"])?;
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut state = State::new(&server).await?;
    let mut tally = Tally::default();
    for round in 1..=options.rounds {
        let outcome = state.round(&mut server, &mut random, &mut tally).await;
        outcome.with_context(|| {
            format!("round {round} with seed {}; the server's log:\n{}", options.seed, server.log())
        })?;
        progress(round, &tally);
    }
    Ok(tally)
}

/// What is known of the server's contents.
struct State {
    writers: Vec<Writer>,
    definitions: Definitions,
    events: Events,
}

impl State {
    async fn new(server: &Server) -> Result<State> {
        let client = connect(server.address()).await?;
        client.batch_execute(ledger::SCHEMA).await?;
        client.batch_execute(transfers::SCHEMA).await?;
        let events = Events::new(&client, server.folder()).await?;
        let writers = (0..WRITERS).map(Writer::new).collect();
        Ok(State { writers, definitions: Definitions::default(), events })
    }

    async fn round(&mut self, server: &mut Server, random: &mut StdRng, tally: &mut Tally) -> Result<()> {
        let (address, reads) = (server.address(), Arc::new(AtomicU64::new(0)));
        let mut seed = || StdRng::seed_from_u64(random.random());
        let mut writers = vec![];
        for writer in std::mem::take(&mut self.writers) {
            writers.push(tokio::spawn(writer.work(connect(address).await?, seed())));
        }
        let mut others: Vec<JoinHandle<Result<u64>>> = vec![];
        for _ in 0..TRANSFERRERS {
            others.push(tokio::spawn(transfers::transfer(connect(address).await?, seed())));
        }
        others.push(tokio::spawn(transfers::watch(connect(address).await?, reads.clone())));
        others.push(tokio::spawn(checkpoint(connect(address).await?, seed())));
        others.push(tokio::spawn(events::follow(connect(address).await?, reads.clone())));
        let definitions = std::mem::take(&mut self.definitions);
        let definitions = tokio::spawn(definitions.work(connect(address).await?, seed()));
        let events = tokio::spawn(std::mem::take(&mut self.events).work(connect(address).await?, reads.clone()));

        tokio::time::sleep(Duration::from_millis(random.random_range(10..400))).await;
        server.kill()?;
        for writer in writers {
            let (writer, done) = writer.await??;
            self.writers.push(writer);
            tally.transactions += done;
        }
        for other in others {
            tally.transactions += other.await??;
        }
        let done;
        (self.definitions, done) = definitions.await??;
        tally.definitions += done;
        self.events = events.await??;
        tally.reads += reads.load(Ordering::Relaxed);

        server.begin_start()?;
        while random.random_ratio(1, 4) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
            server.kill()?;
            server.begin_start()?;
            tally.starts += 1;
        }
        self.check(&connect(address).await?).await
    }

    /// Compares what the server shows with what it acknowledged.
    async fn check(&mut self, client: &Client) -> Result<()> {
        for writer in &mut self.writers {
            writer.check(client).await?;
        }
        self.definitions.check(client).await?;
        self.events.check(client).await?;
        transfers::check(client).await?;
        for (view, query) in ledger::VIEWS.iter().chain(transfers::VIEWS) {
            check_view(client, view, query).await?;
        }
        Ok(())
    }
}

/// Checks that a view is its query.
async fn check_view(client: &Client, view: &str, query: &str) -> Result<()> {
    let differing = client.query(&difference(view, query), &[]).await.with_context(|| format!("reading {view}"))?;
    ensure!(differing.is_empty(), "{} rows of {view} differ from its query", differing.len());
    Ok(())
}

/// Takes checkpoints until the server goes, some of them with a name for a while.
async fn checkpoint(client: Client, mut random: StdRng) -> Result<u64> {
    loop {
        let statement = match random.random_range(0..4) {
            0 => "DROP SNAPSHOT IF EXISTS kept",
            1 => "CREATE SNAPSHOT IF NOT EXISTS kept",
            _ => "CHECKPOINT",
        };
        if gone(client.batch_execute(statement).await)?.is_none() {
            return Ok(0);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
    }
}

/// A session, as soon as the server answers a query.
async fn connect(address: SocketAddr) -> Result<Client> {
    let settings = format!("host={} port={} user=crash connect_timeout=5", address.ip(), address.port());
    let begun = Instant::now();
    loop {
        let failure = match tokio_postgres::connect(&settings, NoTls).await {
            Ok((client, connection)) => {
                // The connection's end shows in what the client is asked next.
                tokio::spawn(connection);
                match client.batch_execute("SELECT 1").await {
                    Ok(()) => return Ok(client),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        ensure!(begun.elapsed() < START, "the server does not answer: {failure}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a statement gave; `None` when the server is gone.
fn gone<T>(outcome: Result<T, tokio_postgres::Error>) -> Result<Option<T>> {
    match outcome {
        Ok(given) => Ok(Some(given)),
        Err(error) if error.is_closed() || error.code().is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
