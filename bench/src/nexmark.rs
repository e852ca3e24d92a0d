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

/// Winning and other bids, and statistics of them: what keeps more state. Measured from files.
const STATEFUL: &[Query] = &[
    Query {
        name: "q4, average price by category",
        tables: &[Table::Auction, Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT category, avg(final) AS price FROM (SELECT max(b.price) AS final, a.category \
              FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires \
              GROUP BY a.id, a.category) w GROUP BY category",
        check: (
            "SELECT sum(price)::bigint FROM q",
            "SELECT sum(price)::bigint FROM (SELECT avg(final) AS price FROM (SELECT max(b.price) AS final, a.category \
             FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires \
             GROUP BY a.id, a.category) w GROUP BY category) c",
        ),
        target: None,
    },
    Query {
        name: "q9, winning bids",
        tables: &[Table::Auction, Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT id, item_name, seller, category, bidder, price, bid_time FROM (SELECT a.*, \
              b.bidder, b.price, b.date_time AS bid_time, \
              row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.bidder) AS place \
              FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) w \
              WHERE place = 1",
        check: (
            "SELECT sum(price)::bigint FROM q",
            "SELECT sum(price)::bigint FROM (SELECT max(b.price) AS price FROM auction a JOIN bid b ON a.id = b.auction \
             AND b.date_time BETWEEN a.date_time AND a.expires GROUP BY a.id) w",
        ),
        target: None,
    },
    Query {
        name: "q15, bidders and auctions by day",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT date_trunc('day', date_time) AS day, count(*) AS bids, \
              count(*) FILTER (WHERE price < 10000) AS cheap, count(*) FILTER (WHERE price >= 1000000) AS dear, \
              count(DISTINCT bidder) AS bidders, count(DISTINCT bidder) FILTER (WHERE price < 10000) AS cheap_bidders, \
              count(DISTINCT auction) AS auctions FROM bid GROUP BY date_trunc('day', date_time)",
        check: (
            "SELECT sum(bids + bidders)::bigint FROM q",
            "SELECT sum(n)::bigint FROM (SELECT count(*) + count(DISTINCT bidder) AS n FROM bid \
             GROUP BY date_trunc('day', date_time)) d",
        ),
        target: None,
    },
    Query {
        name: "q16, bidders and auctions by channel and day",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT channel, date_trunc('day', date_time) AS day, max(date_time) AS latest, \
              count(*) AS bids, count(*) FILTER (WHERE price < 10000) AS cheap, count(DISTINCT bidder) AS bidders, \
              count(DISTINCT auction) AS auctions FROM bid GROUP BY channel, date_trunc('day', date_time)",
        check: (
            "SELECT sum(bids + auctions)::bigint FROM q",
            "SELECT sum(n)::bigint FROM (SELECT count(*) + count(DISTINCT auction) AS n FROM bid \
             GROUP BY channel, date_trunc('day', date_time)) d",
        ),
        target: None,
    },
    Query {
        name: "q17, prices by auction and day",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT auction, date_trunc('day', date_time) AS day, count(*) AS bids, \
              count(*) FILTER (WHERE price < 10000) AS cheap, min(price) AS lowest, max(price) AS highest, \
              avg(price) AS average, sum(price) AS total FROM bid GROUP BY auction, date_trunc('day', date_time)",
        check: ("SELECT sum(bids + total)::bigint FROM q", "SELECT (count(*) + sum(price))::bigint FROM bid"),
        target: None,
    },
    Query {
        name: "q18, the last bid of each bidder on an auction",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT auction, bidder, price, channel, url, date_time, extra FROM (SELECT *, \
              row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) AS place FROM bid) b \
              WHERE place = 1",
        check: ("SELECT count(*) FROM q", "SELECT count(*) FROM (SELECT DISTINCT bidder, auction FROM bid) d"),
        target: None,
    },
    Query {
        name: "q19, the ten best bids of each auction",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT auction, bidder, price, channel, url, date_time, extra, place FROM (SELECT *, \
              row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS place FROM bid) b WHERE place <= 10",
        check: (
            "SELECT sum(price)::bigint FROM q",
            "SELECT sum(price)::bigint FROM (SELECT price, row_number() OVER (PARTITION BY auction ORDER BY price DESC) \
             AS place FROM bid) b WHERE place <= 10",
        ),
        target: None,
    },
    Query {
        name: "q20, bids with their auctions of a category (join)",
        tables: &[Table::Auction, Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.date_time, a.item_name, \
              a.description, a.seller, a.category FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10",
        check: (
            "SELECT count(*) FROM q",
            "SELECT count(*) FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10",
        ),
        target: None,
    },
];

/// From JSON lines of 2 M events.
pub async fn from_files(bench: &Bench) -> Result<Vec<Figure>> {
    let events = bench.size(2_000_000, 500_000);
    let mut figures = vec![];
    for query in QUERIES.iter().chain(STATEFUL).chain(WINDOWED) {
        let sources = query.tables.iter().map(|table| file_source(bench, *table, events)).collect::<Result<_>>()?;
        let cost = run(bench, &pipeline(query, sources)).await?;
        let mut of_query = common(&format!("{} from JSON files", query.name), &cost);
        if let Some(least) = query.target {
            of_query[0].target = Some(Target::AtLeast(least));
        }
        figures.append(&mut of_query);
    }
    Ok(figures)
}

/// From the server's own generator, whose rows cost time on a thread of their own, which is told apart.
pub async fn from_generator(bench: &Bench) -> Result<Vec<Figure>> {
    let events = bench.size(20_000_000, 10_000_000);
    let mut figures = vec![];
    for query in QUERIES {
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

fn file_source(bench: &Bench, table: Table, events: u64) -> Result<String> {
    let columns = match table {
        Table::Bid => {
            "auction bigint, bidder bigint, price bigint, channel text, url text, date_time timestamp, extra text"
        }
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
        "CREATE SOURCE {name} ({columns}) WITH (connector = 'file', path = '{}', format = 'json')",
        path.display()
    ))
}
