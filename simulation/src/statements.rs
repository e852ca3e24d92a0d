//! Random statements of several sessions, one at a time, and what each does to the model.

use crate::check::{check_views, numbers};
use crate::life::Knowledge;
use crate::model::{ACCOUNTS, BALANCE, Effect, Model};
use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use millrace_storage::faulty::FaultyFiles;
use rand::Rng;
use rand::rngs::StdRng;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_postgres::{Client, NoTls};

/// Tables, and the views that are always there.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance > -1000));
    INSERT INTO accounts SELECT n, 100 FROM generate_series(0, 7) AS numbers(n);
    CREATE TABLE items (id bigint PRIMARY KEY, grp bigint NOT NULL, amount bigint NOT NULL);
    CREATE TABLE events (stream bigint, number bigint, PRIMARY KEY (stream, number));
    CREATE TABLE moments (id bigint PRIMARY KEY, minute bigint NOT NULL, at timestamptz NOT NULL);
    CREATE TABLE counter (n bigint NOT NULL);
    INSERT INTO counter VALUES (0);
    CREATE MATERIALIZED VIEW total AS SELECT sum(balance)::bigint AS total FROM accounts;
    CREATE MATERIALIZED VIEW groups AS
        SELECT grp, count(*) AS n, sum(amount)::bigint AS total, max(amount) AS most FROM items GROUP BY grp;
    CREATE MATERIALIZED VIEW overview AS SELECT count(*) AS groups, max(n) AS largest FROM groups;
    CREATE MATERIALIZED VIEW streams AS SELECT stream, count(*) AS n, max(number) AS last FROM events GROUP BY stream;
    CREATE MATERIALIZED VIEW recent AS SELECT id FROM moments WHERE at > now() - interval '5 minutes';
";

/// For how many minutes a moment is recent.
pub(crate) const RECENT: i64 = 5;

/// The views that are always there, with queries that give their rows.
pub(crate) const FIXED: &[(&str, &str)] = &[
    ("total", "SELECT sum(balance)::bigint FROM accounts"),
    ("groups", "SELECT grp, count(*), sum(amount)::bigint, max(amount) FROM items GROUP BY grp"),
    ("overview", "SELECT count(*), max(n) FROM groups"),
    ("streams", "SELECT stream, count(*), max(number) FROM events GROUP BY stream"),
    ("recent", "SELECT id FROM moments WHERE at > now() - interval '5 minutes'"),
];

/// What views that come and go may ask.
pub(crate) const QUERIES: &[&str] = &[
    "SELECT i.id, i.grp, g.total FROM items i JOIN groups g ON g.grp = i.grp",
    "SELECT grp, id FROM (SELECT *, row_number() OVER (PARTITION BY grp ORDER BY amount DESC, id) AS place FROM items) AS p WHERE place <= 2",
    "SELECT DISTINCT amount % 7 AS class FROM items",
    "SELECT a.id, e.stream, e.number FROM accounts a FULL JOIN events e ON e.stream = a.id",
    "SELECT id FROM items WHERE amount > (SELECT avg(amount) FROM items)",
    "SELECT grp, string_agg(id::text, ',' ORDER BY id) AS ids FROM items GROUP BY grp",
    "SELECT id, sum(amount) OVER (PARTITION BY grp ORDER BY id) AS running FROM items",
    "SELECT count(*) AS n FROM items WHERE grp IN (SELECT grp FROM groups WHERE n > 2)",
    "SELECT id FROM accounts WHERE balance < 100 UNION ALL SELECT stream FROM streams WHERE n > 3",
];

const SESSIONS: usize = 3;
/// The errors that a statement may meet: the transaction does not fit any more, a key is taken, or the disk is full.
const EXPECTED: &[&str] = &["40001", "23505", "53100"];

/// A transaction block.
struct Block {
    /// What it sees, if it goes on seeing what was there at its begin.
    snapshot: Option<Model>,
    /// What time it is for it.
    minute: i64,
    /// What it has changed.
    effects: Vec<Effect>,
}

/// The sessions, and the blocks that they are in.
pub(crate) struct Sessions {
    clients: Vec<Client>,
    open: Vec<Option<Block>>,
    knowledge: Arc<Knowledge>,
    disk: FaultyFiles,
    address: SocketAddr,
    /// Changes of the sum of all balances that a subscriber was told of: the first row, and nothing else.
    told: Arc<AtomicU64>,
}

impl Sessions {
    pub async fn open(address: SocketAddr, knowledge: Arc<Knowledge>, disk: FaultyFiles) -> Result<Sessions> {
        let mut clients = vec![];
        for _ in 0..SESSIONS {
            clients.push(connect(address).await?);
        }
        let open = (0..SESSIONS).map(|_| None).collect();
        Ok(Sessions { clients, open, knowledge, disk, address, told: Arc::default() })
    }

    pub fn first(&self) -> &Client {
        &self.clients[0]
    }

    /// Begins to follow the sum of all balances, in a session of its own.
    pub async fn follow(&self) -> Result<()> {
        let (client, told) = (connect(self.address).await?, self.told.clone());
        let changes = client.copy_out("COPY (SUBSCRIBE total) TO STDOUT").await?;
        tokio::spawn(async move {
            let mut changes = Box::pin(changes);
            while let Some(Ok(lines)) = changes.next().await {
                told.fetch_add(lines.iter().filter(|byte| **byte == b'\n').count() as u64, Ordering::Relaxed);
            }
            drop(client);
        });
        Ok(())
    }

    /// Compares the views with the model. No session may be in the middle of anything that it has published.
    pub async fn check(&self) -> Result<()> {
        let told = self.told.load(Ordering::Relaxed);
        ensure!(told <= 1, "a subscriber was told {told} times of a total that never changes");
        check_views(self.first_idle()?, &self.knowledge.known(), self.knowledge.outside()).await
    }

    fn first_idle(&self) -> Result<&Client> {
        let idle = self.open.iter().position(Option::is_none).context("all sessions are in a transaction")?;
        Ok(&self.clients[idle])
    }

    /// Does one thing.
    pub async fn step(&mut self, random: &mut StdRng) -> Result<()> {
        let full = random.random_ratio(1, 12);
        if full {
            self.disk.set_free_bytes(Some(random.random_range(0..1_500)));
        }
        // The first session stays outside of blocks, so that there is always one that can look.
        let session = random.random_range(0..SESSIONS);
        let done = match (random.random_range(0..20), self.open[session].is_some()) {
            (0..4, true) => self.commit(session).await,
            (4, true) => self.roll_back(session).await,
            (0..3, false) if session > 0 => self.begin(session, random).await,
            (5, false) => self.checkpoint(session).await,
            (6, false) => self.change_views(session, random).await,
            (7, false) => self.move_clock(session, random).await,
            (8..10, false) => self.look(session, random).await,
            (10..12, false) if self.knowledge.outside().is_some() => self.feed(session, random).await,
            _ => self.change(session, random).await,
        };
        self.disk.set_free_bytes(None);
        done
    }

    /// What a session sees: what is committed, and what it has changed itself.
    fn sees(&self, session: usize) -> Model {
        match &self.open[session] {
            None => self.knowledge.known(),
            Some(Block { snapshot, minute, effects }) => {
                let seen = snapshot.clone().unwrap_or_else(|| self.knowledge.known());
                Model { minute: *minute, ..seen.after(effects) }
            }
        }
    }

    /// Sends a statement whose changes, if it has any, take effect together or not at all; whether it has succeeded.
    async fn send(&mut self, session: usize, text: &str, effects: Vec<Effect>) -> Result<bool> {
        let number = self.knowledge.update(|left| {
            left.under_way = effects;
            left.sent += 1;
            left.sent
        });
        let outcome = self.clients[session].batch_execute(text).await;
        let code = match &outcome {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
        };
        println!("{number} [{session}] {text} -> {code}");
        self.knowledge.update(|left| {
            let effects = std::mem::take(&mut left.under_way);
            if outcome.is_ok() {
                left.known = left.known.after(&effects);
            }
        });
        match &outcome {
            Err(error) if !EXPECTED.contains(&&code[..]) => bail!("{text} gives {error:?}"),
            _ => Ok(outcome.is_ok()),
        }
    }

    async fn begin(&mut self, session: usize, random: &mut StdRng) -> Result<()> {
        let level = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"][random.random_range(0..3)];
        self.send(session, &format!("BEGIN ISOLATION LEVEL {level}"), vec![]).await?;
        // Reads at once, so that a block with one snapshot has it from here on, where the model has it.
        numbers(&self.clients[session], "SELECT count(*) FROM accounts").await?;
        let known = self.knowledge.known();
        let (minute, snapshot) = (known.minute, (level != "READ COMMITTED").then_some(known));
        self.open[session] = Some(Block { snapshot, minute, effects: vec![] });
        Ok(())
    }

    async fn commit(&mut self, session: usize) -> Result<()> {
        let effects = self.open[session].take().map(|block| block.effects).unwrap_or_default();
        self.send(session, "COMMIT", effects).await.map(drop)
    }

    async fn roll_back(&mut self, session: usize) -> Result<()> {
        self.open[session] = None;
        self.send(session, "ROLLBACK", vec![]).await.map(drop)
    }

    async fn checkpoint(&mut self, session: usize) -> Result<()> {
        self.send(session, "CHECKPOINT", vec![]).await.map(drop)
    }

    async fn change_views(&mut self, session: usize, random: &mut StdRng) -> Result<()> {
        let view = format!("v{}", random.random_range(0..4));
        let is_there = self.knowledge.known().views.contains_key(&view);
        let query = random.random_range(0..QUERIES.len());
        let create = format!("MATERIALIZED VIEW {view} AS {}", QUERIES[query]);
        let (text, effects) = match (is_there, random.random_range(0..3)) {
            (false, _) => (format!("CREATE {create}"), vec![Effect::View(view, Some(query))]),
            (true, 0) => (format!("REFRESH MATERIALIZED VIEW {view}"), vec![]),
            (true, _) => (format!("DROP MATERIALIZED VIEW {view}"), vec![Effect::View(view, None)]),
        };
        self.send(session, &text, effects).await.map(drop)
    }

    async fn move_clock(&mut self, session: usize, random: &mut StdRng) -> Result<()> {
        let minutes = random.random_range(1..4);
        let minute = self.knowledge.known().minute + minutes;
        let text = format!("ADVANCE CLOCK BY INTERVAL '{minutes} minutes'");
        self.send(session, &text, vec![Effect::Minute(minute)]).await.map(drop)
    }

    /// Lets a file grow, and waits until it is read.
    async fn feed(&mut self, session: usize, random: &mut StdRng) -> Result<()> {
        if let Some(outside) = self.knowledge.outside() {
            self.knowledge.update(|left| match &mut left.known.lines {
                Some(lines) => outside.grow(lines, random),
                None => Ok(()),
            })?;
        }
        self.send(session, "FLUSH", vec![]).await.map(drop)
    }

    async fn look(&mut self, session: usize, random: &mut StdRng) -> Result<()> {
        match random.random_range(0..3) {
            0 => self.check().await,
            1 => {
                let sum = numbers(&self.clients[session], "SELECT sum(balance)::bigint FROM accounts").await?;
                ensure!(sum == [[ACCOUNTS * BALANCE]], "the balances come to {sum:?}");
                Ok(())
            }
            _ => {
                let counter = numbers(&self.clients[session], "SELECT n FROM counter").await?;
                ensure!(counter == [[self.knowledge.known().counter]], "the counter stands at {counter:?}");
                Ok(())
            }
        }
    }

    /// Changes rows: at once, or as part of the session's block.
    async fn change(&mut self, session: usize, random: &mut StdRng) -> Result<()> {
        let (text, effects) = change(&self.sees(session), random);
        match self.open[session].take() {
            None => self.send(session, &text, effects).await.map(drop),
            Some(mut block) => match self.send(session, &text, vec![]).await? {
                true => {
                    block.effects.extend(effects);
                    self.open[session] = Some(block);
                    Ok(())
                }
                // The block has failed; only this ends it.
                false => self.roll_back(session).await,
            },
        }
    }
}

/// A random change of rows, and what it does to what is there.
fn change(model: &Model, random: &mut StdRng) -> (String, Vec<Effect>) {
    match random.random_range(0..8) {
        0 | 1 => {
            let from = random.random_range(0..ACCOUNTS);
            let to = (from + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
            let amount = random.random_range(1..20);
            let balance = |account: i64| model.accounts[&account];
            let text = format!(
                "UPDATE accounts SET balance = balance + CASE id WHEN {from} THEN -{amount} ELSE {amount} END \
                 WHERE id IN ({from}, {to})"
            );
            (text, vec![Effect::Balance(from, balance(from) - amount), Effect::Balance(to, balance(to) + amount)])
        }
        2 | 3 => {
            let (item, group, amount) =
                (random.random_range(0..24), random.random_range(0..4), random.random_range(0..50));
            let text = format!(
                "INSERT INTO items VALUES ({item}, {group}, {amount}) \
                 ON CONFLICT (id) DO UPDATE SET grp = excluded.grp, amount = excluded.amount"
            );
            (text, vec![Effect::Item(item, Some((group, amount)))])
        }
        4 => {
            let (group, amount) = (random.random_range(0..4), random.random_range(1..5));
            let of_group = model.items.iter().filter(|(_, row)| row.0 == group);
            let effects = of_group.map(|(item, row)| Effect::Item(*item, Some((group, row.1 + amount)))).collect();
            (format!("UPDATE items SET amount = amount + {amount} WHERE grp = {group}"), effects)
        }
        5 => {
            let least = random.random_range(30..60);
            let gone = model.items.iter().filter(|(_, row)| row.1 >= least);
            let effects = gone.map(|(item, _)| Effect::Item(*item, None)).collect();
            (format!("DELETE FROM items WHERE amount >= {least}"), effects)
        }
        6 => {
            let stream = random.random_range(0..3);
            let last = model.events.range((stream, 0)..(stream + 1, 0)).next_back().map_or(0, |(_, number)| *number);
            let text = format!("INSERT INTO events VALUES ({stream}, {})", last + 1);
            (text, vec![Effect::Event(stream, last + 1)])
        }
        _ => match random.random_bool(0.5) {
            true => ("UPDATE counter SET n = n + 1".to_owned(), vec![Effect::Counter(model.counter + 1)]),
            false => {
                let moment = model.moments.len() as i64;
                let minute = model.minute;
                let text = format!("INSERT INTO moments VALUES ({moment}, {minute}, now())");
                (text, vec![Effect::Moment(moment, minute)])
            }
        },
    }
}

async fn connect(address: SocketAddr) -> Result<Client> {
    let settings = format!("host={} port={} user=simulation", address.ip(), address.port());
    let (client, connection) = tokio_postgres::connect(&settings, NoTls).await?;
    // The connection's end shows in what the client is asked next.
    tokio::spawn(connection);
    Ok(client)
}
