//! The binary `millrace`: configuration, logs, the database, the door for clients, and an orderly end.

use millrace_server::{Config, Database, Door, STACK, Task, telemetry};
use millrace_storage::{Severity, restore, verify};
use millrace_types::{Result, SqlError, SqlState};
use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("millrace: {error}");
            error.detail().into_iter().chain(error.hint()).for_each(|line| eprintln!("  {line}"));
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<ExitCode> {
    let (config, task) = Config::load()?;
    telemetry::start(&config)?;
    match task {
        Some(Task::Verify) => return Ok(report(&config)),
        Some(Task::Restore { from }) => {
            let manifest = restore(&from, &config.data_dir)?;
            println!("restored \"{}\" as of tick {}", config.data_dir.display(), manifest.tick);
            println!("start a server on it with: millrace --data-dir {}", config.data_dir.display());
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("serve")
        .thread_stack_size(STACK)
        .enable_all()
        .build()?;
    runtime.block_on(serve(config)).map(|()| ExitCode::SUCCESS)
}

/// Says what is wrong with the data folder; a failure when something is lost.
fn report(config: &Config) -> ExitCode {
    let findings = verify(&config.data_dir);
    findings.iter().for_each(|finding| println!("{finding}"));
    match findings.iter().any(|finding| finding.severity == Severity::Error) {
        true => ExitCode::FAILURE,
        false => {
            println!("data folder \"{}\" is whole", config.data_dir.display());
            ExitCode::SUCCESS
        }
    }
}

async fn serve(config: Config) -> Result<()> {
    // The port first: a second server on it must not get as far as the folder.
    let listener = TcpListener::bind(config.listen).await.map_err(|error| refusal(&config, &error))?;
    let settings = millrace_wire::Settings { max_connections: config.max_connections, ..Default::default() };
    let opening = config.clone();
    let database = tokio::task::spawn_blocking(move || Database::open(opening)).await;
    let database = database.map_err(|error| SqlError::internal(error.to_string()))??;
    database.end_sessions().await?;
    tracing::info!(
        listen = %config.listen,
        data_dir = %config.data_dir.display(),
        workers = config.workers,
        "ready: connect with psql -h {} -p {}",
        config.listen.ip(),
        config.listen.port(),
    );
    let door = Door::new(database);
    let end = door.clone();
    let end = async move {
        tokio::select! {
            () = told_to_end() => {}
            () = end.failed() => {}
        }
    };
    let served = millrace_wire::serve(listener, Arc::new(door.clone()), settings, end).await;
    if let Some(failure) = door.failure() {
        return Err(failure);
    }
    tokio::task::spawn_blocking(move || door.database().shutdown())
        .await
        .map_err(|error| SqlError::internal(error.to_string()))?;
    tracing::info!("stopped");
    Ok(served?)
}

fn refusal(config: &Config, error: &std::io::Error) -> SqlError {
    let message = format!("cannot listen on {}: {error}", config.listen);
    let refused = SqlError::new(SqlState::CONFIG_FILE_ERROR, message);
    match error.kind() {
        ErrorKind::AddrInUse => {
            refused.with_hint("Is another server running there? Choose another port with --listen.")
        }
        _ => refused,
    }
}

/// Waits for SIGTERM or SIGINT.
async fn told_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen to signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
}
