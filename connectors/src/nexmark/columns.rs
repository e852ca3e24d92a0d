//! The columns of the three tables, each made by itself: only what is wanted costs anything.

use super::generator::{Draw, Generator, Table, below};
use super::words::{self, Words};
use arrow::array::{ArrayRef, Int64Array, StringViewArray, StringViewBuilder, TimestampMicrosecondArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use millrace_types::{SqlType, field_of};
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

/// The schema of a table.
pub fn schema(table: Table) -> SchemaRef {
    use SqlType::{Int8, Text, Timestamp};
    let columns: &[(&str, SqlType)] = match table {
        Table::Bid => &[
            ("auction", Int8),
            ("bidder", Int8),
            ("price", Int8),
            ("channel", Text),
            ("url", Text),
            ("date_time", Timestamp),
            ("extra", Text),
        ],
        Table::Auction => &[
            ("id", Int8),
            ("item_name", Text),
            ("description", Text),
            ("initial_bid", Int8),
            ("reserve", Int8),
            ("date_time", Timestamp),
            ("expires", Timestamp),
            ("seller", Int8),
            ("category", Int8),
            ("extra", Text),
        ],
        Table::Person => &[
            ("id", Int8),
            ("name", Text),
            ("email_address", Text),
            ("credit_card", Text),
            ("city", Text),
            ("state", Text),
            ("date_time", Timestamp),
            ("extra", Text),
        ],
    };
    Arc::new(Schema::new(columns.iter().map(|(name, sql_type)| field_of(*name, sql_type, true)).collect::<Vec<_>>()))
}

/// The values of a column (by its place in [`schema`]) for events that are rows of the table.
pub(super) fn column(generator: &Generator, table: Table, column: usize, events: &[u64]) -> ArrayRef {
    match table {
        Table::Bid => bid(generator, column, events),
        Table::Auction => auction(generator, column, events),
        Table::Person => person(generator, column, events),
    }
}

fn bid(generator: &Generator, column: usize, events: &[u64]) -> ArrayRef {
    match column {
        0 => numbers(events, |event| generator.bid_auction(event)),
        1 => numbers(events, |event| generator.bidder(event)),
        2 => numbers(events, |event| price(generator.draw(event, Draw::Price))),
        3 => pick(events, &words::CHANNELS, |channels, event| {
            channels.pick_channel(generator.draw(event, Draw::Channel))
        }),
        4 => pick(events, &words::URLS, |urls, event| urls.pick_channel(generator.draw(event, Draw::Channel))),
        5 => times(events, |event| generator.time(event)),
        // A bid has 100 bytes on average, 32 of them numbers.
        _ => letters(generator, events, Draw::Extra, 55..82),
    }
}

fn auction(generator: &Generator, column: usize, events: &[u64]) -> ArrayRef {
    match column {
        0 => numbers(events, Generator::auction),
        1 => letters(generator, events, Draw::Name, 3..20),
        2 => letters(generator, events, Draw::Description, 3..100),
        3 => numbers(events, |event| price(generator.draw(event, Draw::Price))),
        4 => numbers(events, |event| {
            price(generator.draw(event, Draw::Price)) + price(generator.draw(event, Draw::Reserve))
        }),
        5 => times(events, |event| generator.time(event)),
        6 => times(events, |event| generator.expires(event)),
        7 => numbers(events, |event| generator.seller(event)),
        8 => numbers(events, |event| generator.category(event)),
        // An auction has 500 bytes on average.
        _ => letters(generator, events, Draw::Extra, 300..450),
    }
}

fn person(generator: &Generator, column: usize, events: &[u64]) -> ArrayRef {
    match column {
        0 => numbers(events, Generator::person),
        1 => pick(events, &words::NAMES, |names, event| names.pick(generator.draw(event, Draw::Name))),
        2 => texts(events, |out, event| email(out, generator.draw(event, Draw::Email))),
        3 => texts(events, |out, event| card(out, generator.draw(event, Draw::Card))),
        4 => pick(events, &words::CITY_NAMES, |cities, event| cities.pick(generator.draw(event, Draw::City))),
        5 => pick(events, &words::STATE_NAMES, |states, event| states.pick(generator.draw(event, Draw::State))),
        6 => times(events, |event| generator.time(event)),
        // A person has 200 bytes on average.
        _ => letters(generator, events, Draw::Extra, 100..150),
    }
}

fn numbers(events: &[u64], value: impl Fn(u64) -> u64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(events.iter().map(|event| value(*event) as i64)))
}

fn times(events: &[u64], value: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| value(*event))))
}

fn pick(events: &[u64], words: &LazyLock<Words>, view: impl Fn(&Words, u64) -> u128) -> ArrayRef {
    let words = LazyLock::force(words);
    views(events.iter().map(|event| view(words, *event)).collect(), &words.buffer)
}

/// Random letters, of a random length.
fn letters(generator: &Generator, events: &[u64], draw: Draw, lengths: std::ops::Range<u64>) -> ArrayRef {
    let pool = LazyLock::force(&words::POOL);
    let view = |event: &u64| {
        let random = generator.draw(*event, draw);
        let length = lengths.start + below(random << 32, lengths.end - lengths.start);
        words::letters(pool, random, length as usize)
    };
    views(events.iter().map(view).collect(), pool)
}

fn views(views: Vec<u128>, buffer: &Buffer) -> ArrayRef {
    // SAFETY: every view was made over bytes of `buffer` (by `Words::new` or `words::letters`) at the offset that it
    // holds. The words are whole strings, and the pool is ASCII.
    Arc::new(unsafe { StringViewArray::new_unchecked(views.into(), vec![buffer.clone()], None) })
}

fn texts(events: &[u64], write: impl Fn(&mut String, u64)) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(events.len());
    let mut text = String::new();
    for event in events {
        text.clear();
        write(&mut text, *event);
        builder.append_value(&text);
    }
    Arc::new(builder.finish())
}

fn email(out: &mut String, random: u64) {
    let letter = |at: u32| (b'a' + (random.rotate_right(5 * at) % 26) as u8) as char;
    out.extend((0..3 + (random >> 60) as u32 % 5).map(letter));
    out.push('@');
    out.extend((7..12).map(letter));
    out.push_str(".com");
}

fn card(out: &mut String, random: u64) {
    let group = |at: u32| (random >> (16 * at)) % 10_000;
    // Writing to a String cannot fail.
    let _ = write!(out, "{:04} {:04} {:04} {:04}", group(0), group(1), group(2), group(3));
}

/// Prices spread evenly over six orders of magnitude, from 100.
#[inline(always)]
fn price(random: u64) -> u64 {
    const STEPS: usize = 4096;
    static POWERS: LazyLock<Vec<f64>> =
        LazyLock::new(|| (0..=STEPS).map(|step| 100.0 * 10f64.powf(6.0 * step as f64 / STEPS as f64)).collect());
    let step = (random >> 52) as usize;
    let within = (random >> 20 & 0xFFFF_FFFF) as f64 / (1u64 << 32) as f64;
    let (low, high) = (POWERS[step], POWERS[step + 1]);
    (low + (high - low) * within + 0.5) as u64
}
