//! A pipeline: bounded sources and one job over them, and what it cost to bring them through.

use crate::bench::Bench;
use crate::process::Memory;
use crate::server::{Server, number};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// How often the process is looked at.
const SAMPLE: Duration = Duration::from_millis(10);
/// A server that has used no processor for so long may be through.
const QUIET: Duration = Duration::from_millis(150);
/// No pipeline takes longer on a machine that the targets are for.
const LONGEST: Duration = Duration::from_secs(900);

/// What to run.
pub struct Pipeline {
    /// Statements that define the sources.
    pub sources: Vec<String>,
    /// The statement that starts the job.
    pub job: String,
    /// A query for a number that tells that the job has done its work right, and an ad-hoc query for the number that
    /// it must be. They run after everything is measured.
    pub check: (String, String),
}

/// What it took from the CREATE of the job until all rows were through.
pub struct Cost {
    /// Rows that the sources delivered.
    pub rows: f64,
    pub wall: Duration,
    /// Of the whole process.
    pub cpu: Duration,
    /// Of the threads that read sources: making or decoding rows.
    pub reading: Duration,
    /// Of all other threads.
    pub engine: Duration,
    /// Of the threads that run the operators.
    pub workers: Duration,
    pub memory: Memory,
}

impl Cost {
    /// Millions of rows per second of the clock on the wall.
    pub fn per_second(&self) -> f64 {
        self.rows / self.wall.as_secs_f64() / 1e6
    }

    /// Millions of rows per CPU-second of the whole process.
    pub fn per_cpu_second(&self) -> f64 {
        self.rows / self.cpu.as_secs_f64() / 1e6
    }

    /// Millions of rows per CPU-second of everything except the threads that read sources.
    pub fn per_engine_second(&self) -> f64 {
        self.rows / self.engine.as_secs_f64() / 1e6
    }

    /// Millions of rows per CPU-second of the workers.
    pub fn per_worker_second(&self) -> f64 {
        self.rows / self.workers.as_secs_f64() / 1e6
    }

    /// Which part of the CPU time went into reading, in percent.
    pub fn reading_percent(&self) -> f64 {
        100.0 * self.reading.as_secs_f64() / (self.reading + self.engine).as_secs_f64()
    }
}

/// Runs a pipeline on a server of its own.
pub async fn run(bench: &Bench, pipeline: &Pipeline) -> Result<Cost> {
    let server = Server::start(bench).await?;
    let client = server.connect().await?;
    for source in &pipeline.sources {
        client.batch_execute(source).await.with_context(|| source.clone())?;
    }
    let mut watch = Watch::new(&server)?;
    let (created, quiet) = tokio::join!(client.batch_execute(&pipeline.job), watch.until_quiet(&server));
    created.with_context(|| pipeline.job.clone()).and(quiet)?;
    while !is_through(&client).await? {
        watch.until_quiet(&server).await?;
    }
    let cost = watch.cost(&server, number(&client, "SELECT sum(records) FROM millrace.splits").await? as f64)?;
    let (found, expected) = (number(&client, &pipeline.check.0).await?, number(&client, &pipeline.check.1).await?);
    ensure!(found == expected, "{} is {found} and not {expected}: {}", pipeline.check.0, pipeline.job);
    Ok(cost)
}

/// Whether all sources have been read to their present end; the error of one that failed.
pub async fn is_through(client: &Client) -> Result<bool> {
    for relation in ["sources", "splits", "sinks", "jobs"] {
        let failed = format!("SELECT error FROM millrace.{relation} WHERE error IS NOT NULL");
        if let Some(row) = client.query_opt(&failed, &[]).await? {
            anyhow::bail!("in millrace.{relation}: {}", row.get::<_, String>(0));
        }
    }
    let (all, open) = (
        number(client, "SELECT count(*) FROM millrace.splits").await?,
        number(client, "SELECT count(*) FROM millrace.splits WHERE state NOT IN ('finished', 'caught up')").await?,
    );
    Ok(all > 0 && open == 0)
}

/// Looks at a process while it works: asking the server itself would cost it time that is then measured.
struct Watch {
    begun: Instant,
    cpu_before: Duration,
    threads_before: BTreeMap<u32, (String, Duration)>,
    threads: BTreeMap<u32, (String, Duration)>,
    /// When it was last seen to have worked, and what it had used by then.
    last_work: (Instant, Duration),
}

impl Watch {
    fn new(server: &Server) -> Result<Watch> {
        let threads_before = server.process().threads();
        let cpu_before = server.process().cpu()?;
        let begun = Instant::now();
        let last_work = (begun, cpu_before);
        Ok(Watch { begun, cpu_before, threads: threads_before.clone(), threads_before, last_work })
    }

    /// Waits until the server has done nothing for a while. That moment, not the end of the wait, is the end of the work.
    async fn until_quiet(&mut self, server: &Server) -> Result<()> {
        let mut seen = server.process().cpu()?;
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < QUIET {
            ensure!(self.begun.elapsed() < LONGEST, "the sources are not read to their end");
            let (now, cpu) = (Instant::now(), server.process().cpu()?);
            self.threads.extend(server.process().threads());
            if cpu > seen {
                seen = cpu;
                quiet_since = now;
                self.last_work = (now, cpu);
            }
            tokio::time::sleep(SAMPLE).await;
        }
        Ok(())
    }

    fn cost(&self, server: &Server, rows: f64) -> Result<Cost> {
        let of = |which: fn(&str) -> bool| -> Duration {
            let before = |id| self.threads_before.get(id).map_or(Duration::ZERO, |(_, time)| *time);
            let threads = self.threads.iter().filter(|(_, (name, _))| which(name));
            threads.map(|(id, (_, time))| time.saturating_sub(before(id))).sum()
        };
        Ok(Cost {
            rows,
            wall: self.last_work.0 - self.begun,
            cpu: self.last_work.1 - self.cpu_before,
            reading: of(|name| name.starts_with("read-")),
            engine: of(|name| !name.starts_with("read-")),
            workers: of(|name| name.starts_with("timely:")),
            memory: server.process().memory()?,
        })
    }
}
