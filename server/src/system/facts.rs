//! What system relations and functions read, gathered for one statement.

use crate::coordinator::Published;
use crate::session::Session;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SessionState;
use millrace_catalog::system::{self, RelationSize, Setting, Snapshot};
use millrace_planner::FunctionSource;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The facts as a session sees them now.
pub fn facts(session: &Session, published: &Published) -> Snapshot {
    let setting = |(name, value): (String, String)| Setting {
        name,
        reset_value: value.clone(),
        value,
        kind: "string",
        context: "user",
        description: "",
    };
    let sizes = published
        .models
        .iter()
        .map(|(id, model)| (id, RelationSize { rows: model.rows() as u64, bytes: model.bytes() as u64 }));
    let path = session.settings.search_path().to_vec();
    Snapshot {
        catalog: published.catalog.clone(),
        database: session.database_name.clone(),
        user: session.user.clone(),
        search_path: path.into_iter().filter(|schema| published.catalog.has_schema(schema)).collect(),
        backend_pid: session.process_id,
        started_at: micros(session.database.started),
        settings: session.settings.all().into_iter().map(setting).collect(),
        sessions: sessions(session),
        sizes: sizes.collect(),
    }
}

fn sessions(session: &Session) -> Vec<system::Session> {
    let sessions = session.database.sessions.lock();
    let line = |(pid, facts): (&i32, &crate::database::SessionFacts)| system::Session {
        pid: *pid,
        database: facts.database.clone(),
        user: facts.user.clone(),
        application_name: facts.application_name.clone(),
        client_address: Some(facts.peer.clone()),
        started_at: micros(facts.started),
        state: if *pid == session.process_id { "active" } else { "idle" },
        ..system::Session::default()
    };
    sessions.iter().map(line).collect()
}

fn micros(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// The functions of `base` and those that read the system's state.
pub fn functions(base: &SessionState, facts: &Arc<Snapshot>) -> FunctionSource {
    let mut state = base.clone();
    for function in system::system_functions(facts.clone()) {
        // A function that is there already is replaced; registering cannot fail otherwise.
        let _ = state.register_udf(Arc::new(function));
    }
    FunctionSource::new(state)
}
