//! Jobs and sources in a few words.

use crate::coordinator::{Published, SplitState};
use crate::database::Database;
use millrace_catalog::RelationKind;
use millrace_types::{RelationId, SqlError};

/// Something that runs until it is dropped: a view, a sink, an INSERT job.
pub struct Job {
    pub id: RelationId,
    pub schema: String,
    pub name: String,
    pub kind: &'static str,
    /// `running`, `building`, `failed`.
    pub state: &'static str,
    pub error: Option<SqlError>,
    /// Whether its rows are only ever added to.
    pub append_only: bool,
}

impl Job {
    /// A line of SHOW JOBS.
    pub fn line(self) -> Vec<Option<String>> {
        let progress = self.error.map(|error| error.message().to_owned());
        vec![
            Some(self.id.to_string()),
            Some(format!("{}.{}", self.schema, self.name)),
            Some(self.kind.to_owned()),
            Some(self.state.to_owned()),
            progress,
        ]
    }
}

/// Every job there is, in the order in which they were made.
pub fn jobs(database: &Database, published: &Published) -> Vec<Job> {
    let sinks = database.coordinator.sinks();
    let runs = |kind: &RelationKind| {
        !matches!(kind, RelationKind::Table(_) | RelationKind::Source { .. } | RelationKind::View { .. })
    };
    let job = |relation: &std::sync::Arc<millrace_catalog::Relation>| {
        let fed = match &relation.kind {
            RelationKind::Job { target, .. } => *target,
            _ => relation.id,
        };
        let error = published.failed.get(&relation.id).cloned().or_else(|| sinks.get(&fed)?.error.clone());
        let building = published.building.contains(&relation.id);
        Job {
            id: relation.id,
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            kind: relation.kind.noun(),
            state: if error.is_some() {
                "failed"
            } else if building {
                "building"
            } else {
                "running"
            },
            error,
            append_only: relation.append_only,
        }
    };
    published.catalog.relations().filter(|relation| runs(&relation.kind)).map(job).collect()
}

/// A source in a few words.
pub struct SourceSummary {
    /// `idle` while nothing reads it, else the state of its least advanced split.
    pub state: &'static str,
    pub records: u64,
    pub bad_records: u64,
}

/// What a source has done so far.
pub fn source_summary(database: &Database, id: RelationId) -> SourceSummary {
    let Some(source) = database.coordinator.source(id) else {
        return SourceSummary { state: "idle", records: 0, bad_records: 0 };
    };
    let splits = source.status.splits();
    let any = |state: SplitState| splits.iter().any(|(_, split)| split.state == state);
    let state =
        [SplitState::Failed, SplitState::Retrying, SplitState::Reading, SplitState::CaughtUp, SplitState::Finished];
    let state = match source.status.error() {
        Some(error) if error.state().is_connection() => "retrying",
        Some(_) => "failed",
        None => state.into_iter().find(|state| any(*state)).map_or("idle", SplitState::word),
    };
    let total = |count: fn(&crate::coordinator::SplitStatus) -> u64| splits.iter().map(|(_, split)| count(split)).sum();
    SourceSummary { state, records: total(|split| split.records), bad_records: total(|split| split.bad_records) }
}
