//! Measures how fast sources make rows: JSON lines of Nexmark bids decoded with various columns, and the generator.
//!
//! `cargo run --release -p millrace-connectors --example decode_rate [events] [repetitions]`

use arrow::datatypes::{Schema, SchemaRef};
use millrace_connectors::nexmark::{self, Table};
use millrace_connectors::{Poll, Source, create_source};
use millrace_types::{Offset, Result};
use std::sync::Arc;

const MAX_ROWS: usize = 8192;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let events: u64 = arguments.next().unwrap_or(2_000_000);
    let repetitions = arguments.next().unwrap_or(5);
    let path = std::env::temp_dir().join(format!("millrace-decode-rate-{}.json", std::process::id()));
    let lines = nexmark::write_json(Table::Bid, events, &path)?;
    let bytes = std::fs::metadata(&path)?.len();
    println!("{lines} bids of {} bytes", bytes / lines.max(1));

    let schema = nexmark::schema(Table::Bid);
    let file = source(&[("connector", "file"), ("path", path.to_str().unwrap_or_default())], &schema)?;
    for (name, columns) in [
        ("json: no column", vec![]),
        ("json: auction, price (q2)", vec![0, 2]),
        ("json: auction, bidder, price, date_time", vec![0, 1, 2, 5]),
        ("json: auction, bidder, price, date_time, extra (q0)", vec![0, 1, 2, 5, 6]),
        ("json: all seven columns", (0..7).collect()),
    ] {
        measure(name, &*file, &columns, bytes, repetitions)?;
    }
    std::fs::remove_file(&path)?;

    let total = events.to_string();
    let generator = source(&[("connector", "nexmark"), ("table", "bid"), ("events", &total)], &schema)?;
    measure("generator: auction, bidder, price, date_time", &*generator, &[0, 1, 2, 5], 0, repetitions)?;
    measure("generator: all seven columns", &*generator, &[0, 1, 2, 3, 4, 5, 6], 0, repetitions)
}

fn source(options: &[(&str, &str)], schema: &SchemaRef) -> Result<Arc<dyn Source>> {
    let options: Vec<_> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let schema = if options[0].1 == "file" { schema.clone() } else { Arc::new(Schema::empty()) };
    Ok(create_source(&options, &schema)?.1)
}

/// Reads a source to its end a few times and prints the median rate.
fn measure(name: &str, source: &dyn Source, columns: &[usize], bytes: u64, repetitions: u64) -> Result<()> {
    let mut times = Vec::new();
    let mut rows = 0;
    for _ in 0..repetitions.max(1) {
        let start = cpu_seconds();
        rows = read(source, columns)?;
        times.push(cpu_seconds() - start);
    }
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    let megabytes = bytes as f64 / seconds / 1e6;
    println!("{name:55} {:6.2} M rows per CPU-second {megabytes:8.0} MB/s", rows as f64 / seconds / 1e6);
    Ok(())
}

fn read(source: &dyn Source, columns: &[usize]) -> Result<u64> {
    let mut rows = 0;
    for split in source.splits()? {
        let mut reader = source.open(&split, Offset(0), columns)?;
        loop {
            match reader.poll(MAX_ROWS)? {
                Poll::Chunk(chunk) => rows += chunk.rows.num_rows() as u64,
                Poll::Pending | Poll::Waiting(_) => {}
                Poll::Finished => break,
            }
        }
    }
    Ok(rows)
}

/// CPU time of this process.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the timespec that it is given, and to nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
