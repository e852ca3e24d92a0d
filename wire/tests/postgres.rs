//! Values as a real PostgreSQL writes and reads them, against ours. Run by hand:
//!
//! ```text
//! MILLRACE_POSTGRES='host=127.0.0.1 user=postgres' cargo test -p millrace-wire --test postgres -- --ignored
//! ```

use millrace_types::SqlType;
use millrace_wire::decode::parse_text;
use millrace_wire::encode::ColumnEncoder;
use millrace_wire::{TextFormat, TimeZone};
use tokio_postgres::{Client, NoTls};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> i64 {
        (self.next() % limit) as i64
    }
}

async fn client() -> Client {
    let config = std::env::var("MILLRACE_POSTGRES").expect("MILLRACE_POSTGRES says where a PostgreSQL 15 is");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("a PostgreSQL");
    tokio::spawn(connection);
    client
}

fn send_function(sql_type: &SqlType) -> String {
    match sql_type {
        SqlType::Array(_) => "array_send".to_owned(),
        SqlType::Bool | SqlType::Text | SqlType::Bytea | SqlType::Int2 | SqlType::Int4 | SqlType::Int8 => {
            format!("{}send", sql_type.name())
        }
        SqlType::Float4 | SqlType::Float8 | SqlType::Oid | SqlType::Varchar(_) | SqlType::Bpchar(_) => {
            format!("{}send", sql_type.name())
        }
        other => format!("{}_send", other.name()),
    }
}

/// Texts that both sides read: what each prints of them, and their binary forms, must be the same.
async fn compare(client: &Client, sql_type: &SqlType, texts: &[String], format: &TextFormat) {
    let name = match sql_type {
        SqlType::Numeric(Some((precision, scale))) => format!("numeric({precision},{scale})"),
        SqlType::Array(element) => format!("{}[]", element.name()),
        other => other.name(),
    };
    let query =
        format!("select format('%s', t::{name}), {}(t::{name}) from unnest($1::text[]) t", send_function(sql_type));
    let rows = client.query(&query, &[&texts]).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let values: Vec<Option<&str>> = texts.iter().map(|text| Some(text.as_str())).collect();
    let array =
        parse_text(sql_type, &values, format).unwrap_or_else(|e| panic!("{name}: {} in {:?}", e.error, texts[e.row]));
    let (text, binary) = (
        ColumnEncoder::text(sql_type, &array, format).unwrap(),
        ColumnEncoder::binary(sql_type, &array, format).unwrap(),
    );
    let mut different = Vec::new();
    for (row, theirs) in rows.iter().enumerate() {
        let (mut our_text, mut our_bytes) = (Vec::new(), Vec::new());
        text.write(row, &mut our_text);
        binary.write(row, &mut our_bytes);
        let our_text = String::from_utf8(our_text).unwrap();
        let (their_text, their_bytes): (String, Vec<u8>) = (theirs.get(0), theirs.get(1));
        if our_text != their_text || our_bytes != their_bytes {
            different
                .push(format!("{:?}: {our_text} {our_bytes:?}, PostgreSQL {their_text} {their_bytes:?}", texts[row]));
        }
    }
    let shown = &different[..different.len().min(15)];
    assert!(different.is_empty(), "{name}: {} of {} differ:\n{}", different.len(), texts.len(), shown.join("\n"));
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server"]
async fn floats() {
    let (client, mut random) = (client().await, Random(1));
    let mut doubles: Vec<String> =
        strings(&["NaN", "Infinity", "-infinity", "-0", "0", "1e15", "1e14", "123456789012345"]);
    doubles.extend((-1074..1024).map(|n| format!("{:e}", 2f64.powi(n))));
    doubles.extend((-320..309).map(|n| format!("1e{n}")));
    let bits = (0..30_000).map(|_| f64::from_bits(random.next())).filter(|f| f.is_finite());
    doubles.extend(bits.map(|f| format!("{f:e}")));
    doubles.extend((0..5_000).map(|n| format!("{}", n as f64 / 1000.0)));
    compare(&client, &SqlType::Float8, &doubles, &TextFormat::default()).await;
    let mut floats: Vec<String> = strings(&["NaN", "Infinity", "-0", "1e6", "1e5", "123456", "1234567"]);
    floats.extend((-149..128).map(|n| format!("{:e}", 2f32.powi(n))));
    let bits = (0..30_000).map(|_| f32::from_bits(random.next() as u32)).filter(|f| f.is_finite());
    floats.extend(bits.map(|f| format!("{f:e}")));
    compare(&client, &SqlType::Float4, &floats, &TextFormat::default()).await;
    for extra_float_digits in [0, -3] {
        client.batch_execute(&format!("set extra_float_digits = {extra_float_digits}")).await.unwrap();
        let format = TextFormat { extra_float_digits, ..TextFormat::default() };
        compare(&client, &SqlType::Float8, &doubles, &format).await;
        compare(&client, &SqlType::Float4, &floats, &format).await;
    }
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server"]
async fn numbers() {
    let (client, mut random) = (client().await, Random(2));
    let mut texts =
        strings(&["0", "-0.00", "1", "-1", "0.0001", "12345.678", "10000", "1e5", "  7 ", "+.5", "5.", "0.00001"]);
    for _ in 0..5_000 {
        let digits = random.next() >> random.below(60);
        texts.push(format!("{}{digits}e-{}", if random.below(2) == 0 { "-" } else { "" }, random.below(20)));
    }
    for (precision, scale) in [(38, 0), (38, 4), (38, 7), (30, 10), (38, 18)] {
        compare(&client, &SqlType::Numeric(Some((precision, scale))), &texts, &TextFormat::default()).await;
    }
    let short: Vec<String> = (0..3_000)
        .map(|_| format!("{}.{}", random.next() as i64 >> random.below(60), 1 + random.below(9_999)))
        .map(|text| text.trim_end_matches('0').to_owned())
        .collect();
    compare(&client, &SqlType::Numeric(None), &short, &TextFormat::default()).await;
    let integers: Vec<String> = (0..2_000).map(|_| (random.next() as i64 >> random.below(60)).to_string()).collect();
    compare(&client, &SqlType::Int8, &integers, &TextFormat::default()).await;
    compare(&client, &SqlType::Oid, &strings(&["0", "4294967295", "-1"]), &TextFormat::default()).await;
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server"]
async fn dates_and_times() {
    let (client, mut random) = (client().await, Random(3));
    let mut timestamps = strings(&[
        "infinity",
        "-infinity",
        "epoch",
        "2024-02-29 23:59:59.999999",
        "0044-03-15 BC",
        "4714-11-24 00:00:00 BC",
        "294246-12-31 23:59:59",
        "20240131T010203",
        "2024-01-01T00:00:00Z",
        "Jan 8, 1999 04:05 PM",
        "8-Jan-1999",
        "January 8, 99 BC 12:30 am",
        "1/8/1999",
        "1999.1.8 04:05:06.7891239",
        "2024-06-30 23:59:60",
        "1999-01-08 24:00:00",
        "Mon Feb 10 17:32:01 1997",
        "19970210 173201",
        "2024-1-2 3:4",
        "1999-Jan-08",
        "10000-01-01",
    ]);
    for _ in 0..5_000 {
        let (year, month, day) = (1 + random.below(12_000), 1 + random.below(12), 1 + random.below(28));
        let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
        let era = if random.below(5) == 0 && year < 4700 { " BC" } else { "" };
        let micros =
            random.below(1_000_000) / 10i64.pow(random.below(7) as u32) * 10i64.pow(random.below(3) as u32) % 1_000_000;
        timestamps.push(format!("{year:04}-{month}-{day} {hour}:{minute}:{second}.{micros:06}{era}"));
    }
    compare(&client, &SqlType::Timestamp, &timestamps, &TextFormat::default()).await;
    for zone in ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu"] {
        client.batch_execute(&format!("set timezone = '{zone}'")).await.unwrap();
        let format = TextFormat { time_zone: TimeZone::parse(zone).unwrap(), ..TextFormat::default() };
        let recent: Vec<String> = timestamps
            .iter()
            // Before the zones' first rule the two databases differ in what they know of local mean time.
            .filter(|text| text.starts_with("19") || text.starts_with("20") || text.contains("inf"))
            .cloned()
            .chain(strings(&["2024-03-31 02:30", "2024-10-27 02:30", "2024-03-10 02:30", "2024-11-03 01:30"]))
            .chain(strings(&[
                "2024-01-01 00:00+05:30",
                "2024-01-01 00:00:00.5-08",
                "2024-01-01 00:00 America/New_York",
            ]))
            .chain((0..2_000).map(|_| format!("{}-06-15 12:00:00+{:02}", 1950 + random.below(150), random.below(14))))
            .collect();
        compare(&client, &SqlType::Timestamptz, &recent, &format).await;
    }
    let dates: Vec<String> = timestamps
        .iter()
        .filter(|text| !text.contains("60"))
        .cloned()
        .chain(strings(&["5874897-12-31", "4714-11-24 BC"]))
        .collect();
    compare(&client, &SqlType::Date, &dates, &TextFormat::default()).await;
    let times = strings(&["00:00", "23:59:59.999999", "24:00:00", "04:05:06.7", "4:05 pm", "12:00 AM", "040506"]);
    compare(&client, &SqlType::Time, &times[..6], &TextFormat::default()).await;
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server"]
async fn intervals() {
    let (client, mut random) = (client().await, Random(4));
    let mut texts = strings(&[
        "0",
        "1 year",
        "-1 year",
        "1 mon -1 day",
        "1 year 2 mons -3 days +04:05:06",
        "-1 day +02:03:04",
        "1.5 days",
        "1.5 months",
        "1.5 years",
        "2 weeks",
        "P1Y2M3DT4H5M6.5S",
        "P2W",
        "PT0.5S",
        "1-2",
        "3 04:05:06",
        "@ 1 minute ago",
        "1 day -00:00:01",
        "-2 mons 3 days",
        "10 decades",
        "00:00:00.000001",
        "1 hour 30 minutes",
        "1h30m",
        "90",
        "-1.25 hours",
        "1us",
        "1 ms",
        "100:00:00",
    ]);
    texts.retain(|text| text != "1h30m");
    for _ in 0..3_000 {
        let part = |random: &mut Random, limit| random.below(limit) - limit as i64 / 2;
        texts.push(format!(
            "{} mons {} days {} microseconds",
            part(&mut random, 2_000),
            part(&mut random, 2_000),
            part(&mut random, 1 << 40)
        ));
    }
    compare(&client, &SqlType::Interval, &texts, &TextFormat::default()).await;
}

#[tokio::test]
#[ignore = "needs a PostgreSQL server"]
async fn texts_and_arrays() {
    let client = client().await;
    let array = |element: SqlType| SqlType::Array(Box::new(element));
    for (sql_type, texts) in [
        (SqlType::Bool, strings(&["t", "false", "YES", " on ", "0", "of", "tr"])),
        (SqlType::Bytea, strings(&["\\x00ff", "\\x", "abc\\\\d\\001", "\\x 01 02"])),
        (
            SqlType::Uuid,
            strings(&[
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
                "A0EE-bc99-9c0b4ef8bb6d6bb9bd38-0a11",
            ]),
        ),
        (SqlType::Json, strings(&["{\"b\" : 1, \"a\":[1,2 ]}", "null", " 1e400 "])),
        (SqlType::Jsonb, strings(&["{\"a\": [1, 2]}", "null", "\"x\""])),
        (array(SqlType::Int4), strings(&["{}", "{1,NULL,-3}", " { 1 , 2 } "])),
        (
            array(SqlType::Text),
            strings(&["{a,\"b c\",\"\",\"null\",NULL,\"x\\\"y\\\\z\",\"{}\",\",\"}", "{ a b , \\ c }", "{grün}"]),
        ),
        (array(SqlType::Bool), strings(&["{t,f}"])),
        (array(SqlType::Float8), strings(&["{1.5,NaN,1e20}"])),
        (array(SqlType::Timestamp), strings(&["{2024-01-01,NULL,infinity}"])),
        (array(SqlType::Interval), strings(&["{1 day 02:00,1 mon}"])),
        (array(SqlType::Bytea), strings(&["{\"\\\\x00\",\"\\\\x\"}"])),
        (array(SqlType::Uuid), strings(&["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"])),
    ] {
        compare(&client, &sql_type, &texts, &TextFormat::default()).await;
    }
}

/// Texts that PostgreSQL refuses are refused, with the same state and words.
#[tokio::test]
#[ignore = "needs a PostgreSQL server"]
async fn refusals() {
    let client = client().await;
    let array = |element: SqlType| SqlType::Array(Box::new(element));
    let mut different = Vec::new();
    for (sql_type, texts) in [
        (SqlType::Bool, &["", "x", "o", "tru e"][..]),
        (SqlType::Int2, &["", "abc", "40000", "-40000", "1.5", "1 2", "0x10"]),
        (SqlType::Int4, &["99999999999", "-", "+", "1e3"]),
        (SqlType::Int8, &["9223372036854775808"]),
        (SqlType::Float8, &["", "x", "1e400", "1e-400", "1.2.3", "--1", "infinite"]),
        (SqlType::Float4, &["1e40", "1e-50"]),
        (SqlType::Numeric(None), &["", "x", "1..2", "1e", "--1", "e5"]),
        (SqlType::Uuid, &["", "x", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", "a0eebc99--9c0b4ef8bb6d6bb9bd380a11"]),
        (SqlType::Bytea, &["\\xabc", "\\xzz", "\\1"]),
        (
            SqlType::Date,
            &["", "x", "2024-02-30", "2024-13-01", "2023-02-29", "99999999-01-01", "2024-01", "0000-01-01"],
        ),
        (SqlType::Time, &["", "25:00", "12:60", "x", "12"]),
        (
            SqlType::Timestamp,
            &["", "yesterdayx", "2024-01-01 25:00:00", "2024-01-01 12:61", "2024-01-01 12:00:00 12:00:00"],
        ),
        (SqlType::Timestamptz, &["2024-01-01 00:00:00+99", "2024-01-01 Mars/Crater"]),
        (SqlType::Interval, &["", "x", "1 fortnight", "99999999999 years", "1 day 1:2:3:4"]),
        (SqlType::Oid, &["x", "4294967296", "-2147483649"]),
        (array(SqlType::Int4), &["", "1", "{1", "{1,}", "{a}", "{1}x", "{,1}", "{1 \"2\"}"]),
    ] {
        for text in texts {
            let name = match &sql_type {
                SqlType::Array(element) => format!("{}[]", element.name()),
                other => other.name(),
            };
            let theirs = client.query(&format!("select ($1::text)::{name}"), &[text]).await;
            let ours = parse_text(&sql_type, &[Some(text)], &TextFormat::default());
            let theirs = match theirs {
                Ok(_) => "accepted".to_owned(),
                Err(error) => {
                    let error = error.as_db_error().expect("an error of the server").clone();
                    format!("{} {}", error.code().code(), error.message())
                }
            };
            let ours = match ours {
                Ok(_) => "accepted".to_owned(),
                Err(failed) => format!("{} {}", failed.error.state(), failed.error.message()),
            };
            if ours != theirs {
                different.push(format!("{name} {text:?}: {ours}; PostgreSQL: {theirs}"));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
