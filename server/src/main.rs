//! The binary `millrace`: configuration, logs, the database, the door for clients, and an orderly end.

use millrace_server::{Config, Database, Door, STACK, telemetry};
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace: {error}");
            error.detail().into_iter().chain(error.hint()).for_each(|line| eprintln!("  {line}"));
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let config = Config::load()?;
    telemetry::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("serve")
        .thread_stack_size(STACK)
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    // The port first: a second server on it must not get as far as the folder.
    let listener = TcpListener::bind(config.listen).await.map_err(|error| refusal(&config, &error))?;
    let settings = millrace_wire::Settings { max_connections: config.max_connections, ..Default::default() };
    let opening = config.clone();
    let database = tokio::task::spawn_blocking(move || Database::open(opening)).await;
    let database = database.map_err(|error| SqlError::internal(error.to_string()))??;
    tracing::info!(
        listen = %config.listen,
        data_dir = %config.data_dir.display(),
        workers = config.workers,
        "ready: connect with psql -h {} -p {}",
        config.listen.ip(),
        config.listen.port(),
    );
    let served = millrace_wire::serve(listener, Arc::new(Door(database.clone())), settings, told_to_end()).await;
    tokio::task::spawn_blocking(move || database.shutdown())
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
