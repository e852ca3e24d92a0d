-- An auction house: the three streams of the Nexmark benchmark, at 5,000 events a second, and five views on them.
CREATE SOURCE IF NOT EXISTS person  WITH (connector = 'nexmark', table = 'person',  rate = '5000');
CREATE SOURCE IF NOT EXISTS auction WITH (connector = 'nexmark', table = 'auction', rate = '5000');
CREATE SOURCE IF NOT EXISTS bid     WITH (connector = 'nexmark', table = 'bid',     rate = '5000');

CREATE MATERIALIZED VIEW IF NOT EXISTS totals AS
SELECT count(*) AS bids, sum(price) AS volume, max(price) AS highest FROM bid;

CREATE MATERIALIZED VIEW IF NOT EXISTS channels AS
SELECT channel, count(*) AS bids, avg(price) AS average_price FROM bid GROUP BY channel;

CREATE MATERIALIZED VIEW IF NOT EXISTS auction_prices AS
SELECT a.id, a.item_name, a.category, count(*) AS bids, max(b.price) AS highest
FROM auction a JOIN bid b ON b.auction = a.id
GROUP BY a.id, a.item_name, a.category;

CREATE MATERIALIZED VIEW IF NOT EXISTS categories AS
SELECT category, count(*) AS auctions, sum(bids) AS bids, max(highest) AS highest FROM auction_prices GROUP BY category;

CREATE MATERIALIZED VIEW IF NOT EXISTS sellers_by_state AS
SELECT p.state, count(*) AS auctions, sum(a.initial_bid) AS asked
FROM auction a JOIN person p ON p.id = a.seller
GROUP BY p.state;
