//! Nexmark queries, from JSON files and from the generator, into a sink or a view.

mod windowed;

use crate::bench::Bench;
use crate::pipeline::{Cost, Pipeline, run};
use crate::report::{Figure, Target};
use anyhow::Result;
use millrace_connectors::nexmark::Table;
use windowed::WINDOWED;

/// A query of the benchmark.
struct Query {
    name: &'static str,
    tables: &'static [Table],
    /// What follows CREATE.
    job: &'static str,
    /// A query on the finished job and one on its sources, both for the same number.
    check: (&'static str, &'static str),
    /// Millions of rows per CPU-second that it must bring through from JSON files.
    target: Option<f64>,
}

/// A query that keeps state. That its answer is right is for the tests of the server; here, that it has read everything.
struct Stateful {
    name: &'static str,
    tables: &'static [Table],
    select: &'static str,
    /// Millions of rows per CPU-second that it must bring through.
    least: f64,
}

const SINK_ROWS: &str = "SELECT sum(rows) FROM millrace.sinks";

const QUERIES: &[Query] = &[
    Query {
        name: "q0, every bid",
        tables: &[Table::Bid],
        job: "SINK q AS SELECT auction, bidder, price, date_time, extra FROM bid WITH (connector = 'blackhole')",
        check: (SINK_ROWS, "SELECT count(*) FROM bid"),
        target: Some(1.0),
    },
    Query {
        name: "q1, currency conversion",
        tables: &[Table::Bid],
        job: "SINK q AS SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM bid \
              WITH (connector = 'blackhole')",
        check: (SINK_ROWS, "SELECT count(*) FROM bid"),
        target: Some(1.1),
    },
    Query {
        name: "q2, some auctions",
        tables: &[Table::Bid],
        job: "SINK q AS SELECT auction, price FROM bid WHERE auction % 123 = 0 WITH (connector = 'blackhole')",
        check: (SINK_ROWS, "SELECT count(*) FROM bid WHERE auction % 123 = 0"),
        target: Some(2.0),
    },
    Query {
        name: "q3, who sells in some states (join)",
        tables: &[Table::Auction, Table::Person],
        job: "MATERIALIZED VIEW q AS SELECT p.name, p.city, p.state, a.id FROM auction a \
              JOIN person p ON a.seller = p.id WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')",
        check: (
            "SELECT count(*) FROM q",
            "SELECT count(*) FROM auction a JOIN person p ON a.seller = p.id \
             WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')",
        ),
        target: None,
    },
    Query {
        name: "bids by channel (few groups)",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT channel, count(*) AS bids, max(price) AS highest, avg(price) AS average \
              FROM bid GROUP BY channel",
        check: ("SELECT sum(bids) FROM q", "SELECT count(*) FROM bid"),
        target: None,
    },
    Query {
        name: "best bid by auction (join, many groups)",
        tables: &[Table::Auction, Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT a.id, a.category, count(*) AS bids, max(b.price) AS highest \
              FROM auction a JOIN bid b ON b.auction = a.id GROUP BY a.id, a.category",
        check: ("SELECT sum(bids) FROM q", "SELECT count(*) FROM auction a JOIN bid b ON b.auction = a.id"),
        target: None,
    },
];

const BID: &[Table] = &[Table::Bid];
const AUCTION_BID: &[Table] = &[Table::Auction, Table::Bid];
const AUCTION_PERSON: &[Table] = &[Table::Auction, Table::Person];

/// Measured from files, into a sink: what keeps more state. The tests of the server read the same texts.
const STATEFUL: &[Stateful] = &[
    stateful("q3, who sells in some states (join)", AUCTION_PERSON, include_str!("../nexmark/q3.sql"), 1.32),
    stateful("q4, average price by category", AUCTION_BID, include_str!("../nexmark/q4.sql"), 0.944),
    stateful("q9, winning bids", AUCTION_BID, include_str!("../nexmark/q9.sql"), 0.672),
    stateful("q15, bidders and auctions by day", BID, include_str!("../nexmark/q15.sql"), 1.336),
    stateful("q16, bidders and auctions by channel and day", BID, include_str!("../nexmark/q16.sql"), 0.824),
    stateful("q17, prices by auction and day", BID, include_str!("../nexmark/q17.sql"), 1.672),
    stateful("q18, the last bid of each bidder on an auction", BID, include_str!("../nexmark/q18.sql"), 1.176),
    stateful("q19, the ten best bids of each auction", BID, include_str!("../nexmark/q19.sql"), 1.032),
    stateful(
        "q20, bids with their auctions of a category (join)",
        AUCTION_BID,
        include_str!("../nexmark/q20.sql"),
        0.92,
    ),
];

const fn stateful(name: &'static str, tables: &'static [Table], select: &'static str, least: f64) -> Stateful {
    Stateful { name, tables, select, least }
}

/// From JSON lines of 2 M events.
pub async fn from_files(bench: &Bench) -> Result<Vec<Figure>> {
    let events = bench.size(2_000_000, 500_000);
    let mut figures = vec![];
    for query in QUERIES.iter().filter(|query| bench.wants(query.name)) {
        let sources = query.tables.iter().map(|table| file_source(bench, *table, events, "")).collect::<Result<_>>()?;
        let cost = run(bench, &pipeline(query, sources)).await?;
        figures.extend(against(query, common(&format!("{} from JSON files", query.name), &cost)));
    }
    Ok(figures)
}

/// What follows the columns of a source: how far its times may be out of order.
const WATERMARK: &str = ", WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'";

/// Windows of time from the same files: always up to date, and when they close.
pub async fn windows_from_files(bench: &Bench) -> Result<Vec<Figure>> {
    let events = bench.size(2_000_000, 500_000);
    let mut figures = vec![];
    for query in WINDOWED.iter().filter(|query| bench.wants(query.name)) {
        for (emission, what) in [("", "from JSON files"), (" EMIT ON WINDOW CLOSE", "from JSON files, on close")] {
            let sources = query.tables.iter().map(|table| file_source(bench, *table, events, WATERMARK));
            let mut pipeline = pipeline(query, sources.collect::<Result<_>>()?);
            pipeline.job += emission;
            let cost = run(bench, &pipeline).await?;
            let figures_of = common(&format!("{} {what}", query.name), &cost);
            match emission {
                "" => figures.extend(figures_of),
                _ => figures.extend(against(query, figures_of)),
            }
        }
    }
    Ok(figures)
}

/// The first figure against the target of a query.
fn against(query: &Query, mut figures: Vec<Figure>) -> Vec<Figure> {
    if let (Some(least), Some(first)) = (query.target, figures.first_mut()) {
        first.target = Some(Target::AtLeast(least));
    }
    figures
}

/// As [`from_files`], into a sink that throws the changes away.
pub async fn stateful_from_files(bench: &Bench) -> Result<Vec<Figure>> {
    let events = bench.size(2_000_000, 500_000);
    let mut figures = vec![];
    for query in STATEFUL.iter().filter(|query| bench.wants(query.name)) {
        let cost = run(bench, &query.pipeline(bench, events)?).await?;
        let mut of_query = common(&format!("{} from JSON files into a sink", query.name), &cost);
        of_query[0].target = Some(Target::AtLeast(query.least));
        figures.append(&mut of_query);
    }
    Ok(figures)
}

impl Stateful {
    fn pipeline(&self, bench: &Bench, events: u64) -> Result<Pipeline> {
        let sources = self.tables.iter().map(|table| file_source(bench, *table, events, "")).collect::<Result<_>>()?;
        let counts: Vec<_> =
            self.tables.iter().map(|table| format!("(SELECT count(*) FROM {})", table_name(*table))).collect();
        let check = ("SELECT sum(records) FROM millrace.splits".to_owned(), format!("SELECT {}", counts.join(" + ")));
        let job = format!("CREATE SINK q AS {} WITH (connector = 'blackhole')", self.select);
        Ok(Pipeline { sources, job, check })
    }
}

/// From the server's own generator, whose rows cost time on a thread of their own, which is told apart.
pub async fn from_generator(bench: &Bench) -> Result<Vec<Figure>> {
    let events = bench.size(20_000_000, 10_000_000);
    let mut figures = vec![];
    for query in QUERIES.iter().filter(|query| bench.wants(query.name)) {
        let sources = query.tables.iter().map(|table| generator_source(*table, events)).collect();
        let cost = run(bench, &pipeline(query, sources)).await?;
        let name = format!("{} from the generator", query.name);
        figures.extend(common(&name, &cost));
        let engine = Figure::new(name, "M rows per CPU-second without making them", cost.per_engine_second());
        let simple = query.target.is_some();
        figures.push(if simple { engine.target(Target::AtLeast(8.0)) } else { engine });
    }
    Ok(figures)
}

fn pipeline(query: &Query, sources: Vec<String>) -> Pipeline {
    Pipeline {
        sources,
        job: format!("CREATE {}", query.job),
        check: (query.check.0.to_owned(), query.check.1.to_owned()),
    }
}

fn common(name: &str, cost: &Cost) -> Vec<Figure> {
    vec![
        Figure::new(name, "M rows per CPU-second", cost.per_cpu_second()),
        Figure::new(name, "M rows per second", cost.per_second()),
        Figure::new(name, "% of the CPU time spent in reading", cost.reading_percent()),
        Figure::new(name, "MiB at most", cost.memory.peak as f64 / 1048576.0),
    ]
}

fn table_name(table: Table) -> &'static str {
    match table {
        Table::Bid => "bid",
        Table::Auction => "auction",
        Table::Person => "person",
    }
}

/// A source over the generator with all columns of the table.
pub fn generator_source(table: Table, events: u64) -> String {
    let name = table_name(table);
    format!("CREATE SOURCE {name} WITH (connector = 'nexmark', table = '{name}', events = '{events}')")
}

/// The columns of bids.
pub const BID_COLUMNS: &str =
    "auction bigint, bidder bigint, price bigint, channel text, url text, date_time timestamp, extra text";

/// A source over the JSON lines of the table, with all its columns.
pub fn file_source(bench: &Bench, table: Table, events: u64, watermark: &str) -> Result<String> {
    let columns = match table {
        Table::Bid => BID_COLUMNS,
        Table::Auction => {
            "id bigint, item_name text, description text, initial_bid bigint, reserve bigint, date_time timestamp, \
             expires timestamp, seller bigint, category bigint, extra text"
        }
        Table::Person => {
            "id bigint, name text, email_address text, credit_card text, city text, state text, date_time timestamp, \
             extra text"
        }
    };
    let path = bench.nexmark_file(table, events)?;
    let name = table_name(table);
    Ok(format!(
        "CREATE SOURCE {name} ({columns}{watermark}) WITH (connector = 'file', path = '{}', format = 'json')",
        path.display()
    ))
}
