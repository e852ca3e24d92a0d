-- The auction house over topics: bids go to the topic "bids" as Avro, come back from it, and what each channel has taken
-- goes to the topic "channels", exactly once. `docker compose up` makes the topics and runs this; the broker is at
-- kafka:9092, the schema registry at http://registry:8081.
CREATE SOURCE IF NOT EXISTS bid WITH (connector = 'nexmark', table = 'bid', rate = '1000');

CREATE SINK IF NOT EXISTS bids_out AS SELECT auction, bidder, price, channel, date_time FROM bid
WITH (connector = 'kafka', topic = 'bids', properties.bootstrap.server = 'kafka:9092', key = 'auction')
FORMAT PLAIN ENCODE AVRO (schema.registry = 'http://registry:8081');

CREATE SOURCE IF NOT EXISTS bids (
  auction bigint, bidder bigint, price bigint, channel text, date_time timestamp,
  WATERMARK FOR date_time AS date_time - INTERVAL '5 seconds' WITH (idle_timeout = '10 seconds')
)
WITH (connector = 'kafka', topic = 'bids', properties.bootstrap.server = 'kafka:9092')
FORMAT PLAIN ENCODE AVRO (schema.registry = 'http://registry:8081');

CREATE MATERIALIZED VIEW IF NOT EXISTS channels AS
SELECT channel, count(*) AS bids, max(price) AS highest FROM bids GROUP BY channel;

CREATE MATERIALIZED VIEW IF NOT EXISTS minutes AS
SELECT window_start, count(*) AS bids, max(price) AS highest
FROM TUMBLE(bids, date_time, INTERVAL '1 minute') GROUP BY window_start EMIT ON WINDOW CLOSE;

CREATE SINK IF NOT EXISTS channels_out FROM channels
WITH (connector = 'kafka', topic = 'channels', properties.bootstrap.server = 'kafka:9092', key = 'channel',
      delivery = 'exactly_once')
FORMAT UPSERT ENCODE JSON;
