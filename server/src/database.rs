//! The database: what all sessions share.

use crate::config::Config;
use crate::coordinator::Coordinator;
use crate::reading::query_memory;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionState;
use millrace_planner::FunctionSource;
use millrace_storage::{Disk, LocalDisk};
use millrace_types::{Result, SqlError};
use millrace_wire::CancelToken;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::{Builder, Runtime};

/// The stack of threads that parse, plan and define, in bytes: nesting is bounded, and this is more than the deepest
/// statement needs (views on views most). Only what is used of it costs memory.
pub const STACK: usize = 64 << 20;

/// Everything that sessions share. One per process.
pub struct Database {
    pub config: Config,
    pub coordinator: Coordinator,
    /// DataFusion with our functions: what each statement's planning starts from.
    pub state: SessionState,
    /// The functions of `state`, for planning.
    pub functions: FunctionSource,
    /// The same for sessions in other zones than UTC, by the zone's name.
    pub zoned: Mutex<HashMap<String, FunctionSource>>,
    /// The threads that run queries, apart from those that serve connections.
    pub queries: Queries,
    /// Whether all that is durable is in the data folder of this machine.
    pub is_local: bool,
    pub started: SystemTime,
    /// Who is connected, by process id: `pg_stat_activity`.
    pub sessions: Mutex<BTreeMap<i32, SessionFacts>>,
}

/// Threads that end without being waited for.
pub struct Queries(Option<Runtime>);

impl Queries {
    /// Runs something on them.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        // They are there for as long as the value is.
        if let Some(threads) = &self.0 {
            threads.spawn(work);
        }
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        // The last one who has the database may be a session, which must not block.
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

/// What others may know of a session.
#[derive(Clone)]
pub struct SessionFacts {
    pub user: String,
    pub database: String,
    pub application_name: String,
    pub peer: String,
    pub started: SystemTime,
    /// Cancels what the session does, or ends it.
    pub cancel: CancelToken,
}

impl Database {
    /// Opens the data folder, recovers what it holds and starts the clock.
    ///
    /// # Errors
    /// What keeps the folder from being used: taken by another server, written by a later version, damaged.
    pub fn open(config: Config) -> Result<Arc<Database>> {
        let disk = LocalDisk::new(&config.data_dir);
        Database::open_with(config, &disk, true)
    }

    /// As [`Database::open`], with what is durable on another disk than that of the data folder.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_on(config: Config, disk: &dyn Disk) -> Result<Arc<Database>> {
        Database::open_with(config, disk, false)
    }

    fn open_with(config: Config, disk: &dyn Disk, is_local: bool) -> Result<Arc<Database>> {
        let state = session_state(&config)?;
        let queries = Builder::new_multi_thread()
            .worker_threads(config.query_threads)
            .thread_name("query")
            .thread_stack_size(STACK)
            .enable_all()
            .build()?;
        let functions = FunctionSource::new(state.clone());
        let coordinator = Coordinator::open(&config, disk, &functions)?;
        let started = SystemTime::now();
        let (sessions, zoned) = (Mutex::default(), Mutex::default());
        let queries = Queries(Some(queries));
        Ok(Arc::new(Database { config, coordinator, state, functions, zoned, queries, is_local, started, sessions }))
    }

    /// Ends what ended with the server: the temporary relations of its sessions.
    ///
    /// # Errors
    /// Those of writing that down.
    pub async fn end_sessions(&self) -> Result<()> {
        crate::statements::drop_left_over(self).await
    }

    /// Ends the clock and closes the folder.
    pub fn shutdown(&self) {
        self.coordinator.shutdown();
    }
}

fn session_state(config: &Config) -> Result<SessionState> {
    let internal = |error: datafusion::error::DataFusionError| SqlError::internal(error.to_string());
    let settings = millrace_functions::session_config().with_target_partitions(1).with_information_schema(false);
    let state = millrace_functions::session_state(settings).map_err(internal)?;
    let memory = query_memory(config.query_memory_mib).map_err(internal)?;
    let rules = millrace_planner::rewrite::rules_once(state.optimizers());
    let state = SessionStateBuilder::new_from_existing(state).with_runtime_env(memory).with_optimizer_rules(rules);
    let mut state = state.build();
    // Building anew takes the functions in any order: of two with a name or an alias, ours has to be the later again.
    millrace_functions::register(&mut state).map_err(internal)?;
    Ok(state)
}
