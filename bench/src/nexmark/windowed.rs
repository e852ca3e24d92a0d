//! Nexmark's queries about windows of time.

use super::Query;
use millrace_connectors::nexmark::Table;

/// Hopping, tumbling, session and cumulating windows, a window join and a window top-k. Measured from files, in views that
/// are always up to date and in such whose rows appear when windows close. The targets are for these.
pub const WINDOWED: &[Query] = &[
    Query {
        name: "q5, the auctions with most bids in hopping windows",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT auction, bids, window_start, window_end FROM (SELECT auction, bids, \
              window_start, window_end, rank() OVER (PARTITION BY window_start, window_end ORDER BY bids DESC) AS place \
              FROM (SELECT auction, count(*) AS bids, window_start, window_end \
              FROM hop(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds') \
              GROUP BY auction, window_start, window_end) c) r WHERE place = 1",
        check: (
            "SELECT sum(bids)::bigint FROM q",
            "SELECT sum(bids)::bigint FROM (SELECT bids, rank() OVER (PARTITION BY s ORDER BY bids DESC) AS place \
             FROM (SELECT count(*) AS bids, window_start AS s \
             FROM hop(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds') \
             GROUP BY auction, window_start) c) r WHERE place = 1",
        ),
        target: Some(1.584),
    },
    Query {
        name: "q7, the highest bid of tumbling windows (join)",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT b.auction, b.price, b.bidder, b.date_time FROM bid b JOIN \
              (SELECT max(price) AS price, window_start, window_end \
              FROM tumble(bid, date_time, INTERVAL '10 seconds') GROUP BY window_start, window_end) h \
              ON b.price = h.price AND b.date_time >= h.window_start AND b.date_time < h.window_end",
        check: (
            "SELECT sum(price)::bigint FROM q",
            "SELECT sum(price)::bigint FROM (SELECT price, rank() OVER (PARTITION BY window_start ORDER BY price DESC) \
             AS place FROM tumble(bid, date_time, INTERVAL '10 seconds')) r WHERE place = 1",
        ),
        target: Some(0.76),
    },
    Query {
        name: "q8, new persons who sell in the same window (join)",
        tables: &[Table::Person, Table::Auction],
        job: "MATERIALIZED VIEW q AS SELECT p.id, p.name, p.window_start FROM \
              (SELECT id, name, window_start, window_end FROM tumble(person, date_time, INTERVAL '10 seconds') \
              GROUP BY id, name, window_start, window_end) p JOIN \
              (SELECT seller, window_start, window_end FROM tumble(auction, date_time, INTERVAL '10 seconds') \
              GROUP BY seller, window_start, window_end) a \
              ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end",
        check: (
            "SELECT count(*) FROM q",
            "SELECT count(*) FROM (SELECT DISTINCT p.id, p.window_start \
             FROM tumble(person, date_time, INTERVAL '10 seconds') p \
             JOIN tumble(auction, date_time, INTERVAL '10 seconds') a \
             ON p.id = a.seller AND p.window_start = a.window_start) d",
        ),
        target: Some(0.944),
    },
    Query {
        name: "q11, bids in the sessions of each bidder",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT bidder, count(*) AS bids, window_start, window_end \
              FROM session(bid PARTITION BY bidder, date_time, INTERVAL '10 seconds') \
              GROUP BY bidder, window_start, window_end",
        check: (
            "SELECT sum(bids)::bigint + count(*) FROM q",
            "SELECT count(*) + count(*) FILTER (WHERE begins) FROM (SELECT coalesce(date_time - lag(date_time) \
             OVER (PARTITION BY bidder ORDER BY date_time) > INTERVAL '10 seconds', true) AS begins FROM bid) b",
        ),
        target: Some(1.416),
    },
    Query {
        name: "q12, bids of each bidder in tumbling windows",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT bidder, count(*) AS bids, window_start, window_end \
              FROM tumble(bid, date_time, INTERVAL '10 seconds') GROUP BY bidder, window_start, window_end",
        check: (
            "SELECT sum(bids)::bigint + count(*) FROM q",
            "SELECT sum(n)::bigint + count(*) FROM (SELECT count(*) AS n FROM bid \
             GROUP BY bidder, date_bin(INTERVAL '10 seconds', date_time, TIMESTAMP '1970-01-01')) b",
        ),
        target: Some(2.432),
    },
    Query {
        name: "q12 cumulating, bids of each bidder in growing windows",
        tables: &[Table::Bid],
        job: "MATERIALIZED VIEW q AS SELECT bidder, count(*) AS bids, window_start, window_end \
              FROM cumulate(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds') \
              GROUP BY bidder, window_start, window_end",
        check: (
            "SELECT sum(bids)::bigint FROM q",
            "SELECT count(*)::bigint FROM cumulate(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')",
        ),
        target: None,
    },
];
