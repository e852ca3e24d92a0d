//! What a statement is planned with: relations as the session sees them, and functions.

use super::alter::mentions;
use super::alter_table::without_regclass;
use super::with::Given;
use crate::coordinator::{Published, schema_of};
use crate::database::Database;
use crate::reading::{ModelTable, SourceTable, with_hidden};
use crate::session::Session;
use crate::system;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use millrace_catalog::{self as catalog, DropBehavior, RelationKind, Seen};
use millrace_planner::bind::{bind_check, bind_default, bind_generated, bind_row_expression};
use millrace_planner::{self as planner, FunctionSource, RelationKey};
use millrace_types::{RelationId, Result, SqlError, SqlState};
use millrace_wire::TimeZone;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How many zones' functions are kept.
const ZONES_MAX: usize = 32;

/// Relations by name for one statement: the published definitions, the session's search path, the system relations.
pub struct Context {
    pub published: Arc<Published>,
    pub search_path: Arc<[String]>,
    pub functions: FunctionSource,
    /// The zone in which the statement reads and writes local times.
    pub time_zone: TimeZone,
    /// `None` while the server recovers: then sources and system relations have no rows to read.
    database: Option<Arc<Database>>,
    /// What system relations show; only for statements that may concern them, since it is not free.
    facts: Option<Arc<catalog::system::Snapshot>>,
    /// The relations that names have been resolved to: what a definition depends on.
    used: Mutex<BTreeSet<RelationId>>,
    /// Those that the statement names itself, and not a view that it reads.
    named: Mutex<BTreeSet<RelationId>>,
    /// Of a definition that is brought back to life, the relations that its names meant when it was made, under
    /// whatever search path that was.
    meant: Vec<Seen>,
    /// Jobs that are read instead of relations whose places they will take.
    stand_ins: HashMap<RelationId, RelationId>,
    /// What the parts of WITH before the statement gave.
    given: Given,
}

impl Context {
    /// The context of a session's statement with this text.
    pub fn new(session: &Session, published: Arc<Published>, text: &str) -> Context {
        let facts = concerns_system(text).then(|| Arc::new(system::facts(session, &published)));
        let (search_path, database) = (session.settings.search_path().clone(), session.database.clone());
        let time_zone = session.settings.format().time_zone;
        let own = session.functions(text, published.catalog.has_sequences());
        let functions = match (&facts, own) {
            (Some(facts), own) => {
                let base = own.as_ref().map_or(&database.state, FunctionSource::state);
                in_zone(system::functions(base, facts), session, time_zone)
            }
            (None, Some(own)) => in_zone(own, session, time_zone),
            (None, None) if time_zone == TimeZone::UTC => database.functions.clone(),
            (None, None) => zoned(&database, session),
        };
        Context {
            published,
            search_path,
            functions,
            time_zone,
            database: Some(database),
            facts,
            used: Mutex::default(),
            named: Mutex::default(),
            meant: vec![],
            stand_ins: HashMap::new(),
            given: Given::default(),
        }
    }

    /// The session's zone as definitions keep it.
    pub fn zone_name(&self) -> Option<String> {
        (self.time_zone != TimeZone::UTC)
            .then(|| self.functions.state().config().options().execution.time_zone.clone())?
    }

    /// The context of a definition that is brought back to life, in the zone of the session that made it.
    pub fn of_recovery(published: Arc<Published>, functions: FunctionSource, relation: &catalog::Relation) -> Context {
        let functions = match &relation.time_zone {
            Some(zone) => in_zone_of_name(functions, zone),
            None => functions,
        };
        Context {
            published,
            search_path: [relation.schema.clone(), catalog::DEFAULT_SCHEMA.to_owned()].into(),
            functions,
            time_zone: TimeZone::UTC,
            database: None,
            facts: None,
            used: Mutex::default(),
            named: Mutex::default(),
            meant: relation.seen.clone(),
            stand_ins: HashMap::new(),
            given: Given::default(),
        }
    }

    /// The context of a definition that is planned anew while the server runs.
    pub fn of_definition(session: &Session, published: Arc<Published>, relation: &catalog::Relation) -> Context {
        let database = session.database.clone();
        let context = Context::of_recovery(published, database.functions.clone(), relation);
        Context { database: Some(database), ..context }
    }

    /// The context in which some relations are read from the jobs that will take their places.
    pub fn with_stand_ins(self, stand_ins: HashMap<RelationId, RelationId>) -> Context {
        Context { stand_ins, ..self }
    }

    /// The context of a statement that may read what the parts of WITH before it gave.
    pub fn with_given(self, given: Given) -> Context {
        Context { given, ..self }
    }

    /// Whether the statement may read the system's state, so that its plan is good for one run only.
    pub fn is_system(&self) -> bool {
        self.facts.is_some()
    }

    /// The relations that binding has met so far.
    pub fn used(&self) -> Vec<RelationId> {
        self.used.lock().iter().copied().collect()
    }

    /// What the statement's own names mean, for a definition to keep.
    pub fn seen(&self) -> Vec<Seen> {
        let before = |id: &RelationId| self.meant.iter().find(|seen| seen.id == *id).cloned();
        let now = |id: &RelationId| self.published.catalog.get(*id).map(|relation| Seen::now(relation));
        self.named.lock().iter().filter_map(|id| before(id).or_else(|| now(id))).collect()
    }

    /// The relation with a name, which must exist.
    pub fn resolve(&self, name: &[String]) -> Result<&Arc<catalog::Relation>> {
        let (schema, name) = self.schema_and_name(name)?;
        self.published.catalog.resolve(schema, name, &self.search_path)
    }

    /// The parts of a name, in which `pg_temp` stands for the session's own schema.
    fn schema_and_name<'n>(&'n self, name: &'n [String]) -> Result<(Option<&'n str>, &'n str)> {
        let (schema, name) = schema_and_name(name)?;
        let own = self.search_path.iter().find(|schema| catalog::is_temporary_schema(schema));
        Ok((schema.map(|schema| own.filter(|_| schema == "pg_temp").map_or(schema, String::as_str)), name))
    }

    /// The schema and the name that a new relation gets.
    pub fn new_name(&self, name: &[String]) -> Result<(String, String)> {
        let (schema, name) = schema_and_name(name)?;
        let schema = match schema {
            Some(schema) => schema,
            None => self.published.catalog.creation_schema(&self.search_path)?,
        };
        Ok((schema.to_owned(), name.to_owned()))
    }

    /// The relations that dropping some takes with it, dependents first.
    pub fn plan_drop(&self, targets: &[RelationId], cascade: bool) -> Result<Vec<RelationId>> {
        let behavior = if cascade { DropBehavior::Cascade } else { DropBehavior::Restrict };
        self.published.catalog.plan_drop(targets, behavior)
    }

    /// Whether the DEFAULT and CHECK expressions of a new table mean something.
    pub fn check_expressions(&self, relation: &catalog::Relation) -> Result<()> {
        let schema = schema_of(relation);
        for (column, field) in relation.columns.iter().zip(schema.fields()) {
            if let Some(default) = &column.default {
                bind_default(&without_regclass(default), field, self, &self.functions)?;
            }
        }
        for (column, field) in relation.columns.iter().zip(schema.fields()) {
            if let Some(catalog::Generated::Stored(text)) = &column.generated {
                check_generated(relation, column, text)?;
                bind_generated(text, field, &relation.name, &schema, self, &self.functions)?;
            }
        }
        for check in relation.checks() {
            bind_check(&check.sql, &relation.name, &schema, self, &self.functions)?;
        }
        Ok(())
    }

    /// Whether an expression over the columns of a relation means something.
    pub fn check_row_expression(&self, relation: &catalog::Relation, text: &str) -> Result<()> {
        bind_row_expression(text, &relation.name, &schema_of(relation), self, &self.functions).map(|_| ())
    }

    /// A relation as the planner knows it, with the columns that `seen` had.
    fn relation_of(&self, relation: &catalog::Relation, seen: Option<&Seen>) -> planner::Relation {
        let schema = match seen {
            Some(seen) => schema_seen(&schema_of(relation), &seen.columns),
            None => schema_of(relation),
        };
        let keys = self.keys_of(relation, schema.fields().len());
        let kind = kind_of(&relation.kind);
        let provider: Arc<dyn TableProvider> = match kind {
            planner::RelationKind::Table
            | planner::RelationKind::Sequence
            | planner::RelationKind::MaterializedView => {
                Arc::new(ModelTable::new(relation.id, schema.clone(), keys.clone()))
            }
            planner::RelationKind::Source => Arc::new(self.source_table(relation, &schema)),
            _ => Arc::new(EmptyTable::new(schema.clone())),
        };
        planner::Relation {
            id: self.stand_ins.get(&relation.id).copied().unwrap_or(relation.id),
            schema_name: relation.schema.clone(),
            name: relation.name.clone(),
            kind,
            append_only: relation.append_only,
            unique_key: unique_columns(relation, &keys),
            event_time: relation.event_time,
            watermarked: self.published.catalog.is_watermarked(relation.id),
            hidden: self.hidden_columns(relation, kind, &schema),
            keys,
            view_query: match &relation.kind {
                RelationKind::View { query } => Some(query.clone()),
                _ => None,
            },
            provider,
            defaults: relation.columns.iter().map(default).collect(),
            generated: relation.columns.iter().map(generated).collect(),
            checks: relation.checks().iter().map(|check| (check.name.clone(), check.sql.clone())).collect(),
            schema,
        }
    }

    fn source_table(&self, relation: &catalog::Relation, schema: &SchemaRef) -> SourceTable {
        let running = self
            .database
            .as_ref()
            .and_then(|database| Some((database.coordinator.source(relation.id)?, database.coordinator.now())));
        SourceTable::new(relation.name.clone(), schema.clone(), running)
    }

    /// The hidden columns of a source with a watermark.
    fn hidden_columns(
        &self,
        relation: &catalog::Relation,
        kind: planner::RelationKind,
        schema: &SchemaRef,
    ) -> Option<planner::HiddenColumns> {
        let watermark = relation.watermark.as_ref().filter(|_| kind == planner::RelationKind::Source)?;
        let schema = with_hidden(schema, relation.event_time?);
        let provider = Arc::new(self.source_table(relation, &schema));
        Some(planner::HiddenColumns {
            schema,
            provider,
            rejects: watermark.late == catalog::Late::Window,
            drops: watermark.late == catalog::Late::Drop,
        })
    }

    /// The late rows of a source: a relation named after it.
    fn late_relation(&self, schema: Option<&str>, name: &str) -> Option<planner::Relation> {
        let database = self.database.as_ref()?;
        let source = name.strip_suffix(system::LATE_SUFFIX)?;
        let source = self.published.catalog.resolve(schema, source, &self.search_path).ok()?;
        let (defined, time) = (database.coordinator.source(source.id)?, source.event_time?);
        let provider = Arc::new(system::LateTable::new(database.clone(), defined, &schema_of(source), time));
        Some(system_relation(source.schema.clone(), name, provider))
    }

    /// The ways in which rows of a stored relation are looked up among its first `width` columns.
    fn keys_of(&self, relation: &catalog::Relation, width: usize) -> Vec<RelationKey> {
        let mut keys = vec![];
        if let RelationKind::MaterializedView { .. } = relation.kind
            && let Some(model) = self.published.models.get(&relation.id).filter(|model| !model.key().is_empty())
        {
            let (name, columns) = (relation.name.clone(), model.key().to_vec());
            keys.push(RelationKey { name, model: relation.id, columns, ordered: false, unique: true });
        }
        let own = relation.keys().next().map(|key| key.index);
        for key in relation.index_keys().filter(|key| !key.columns.is_empty()) {
            let model = if own == Some(key.index) { relation.id } else { key.index };
            let index = relation.index_of(key);
            let unique = index.is_none_or(|index| index.unique);
            let ordered = index.is_some_and(|index| index.ordered);
            keys.push(RelationKey { name: key.name.clone(), model, columns: key.columns.clone(), ordered, unique });
        }
        keys.retain(|key| key.columns.iter().all(|column| *column < width));
        keys
    }

    /// The relation with a name: among those that it meant when it was written, if one of them fits, else along the
    /// search path.
    fn find(&self, name: &[String], meant: &[Seen]) -> Result<Option<(RelationId, Arc<planner::Relation>)>> {
        let (schema, name) = self.schema_and_name(name)?;
        if let Some(relation) = self.system_relation(schema, name) {
            return Ok(Some((relation.id, Arc::new(relation))));
        }
        let catalog = &self.published.catalog;
        let fits = |seen: &&Seen| seen.name == name && schema.is_none_or(|schema| seen.schema == schema);
        let mut fitting = meant.iter().filter(fits).filter_map(|seen| Some((Some(seen), catalog.get(seen.id)?)));
        let found = match (fitting.next(), fitting.next()) {
            (Some(found), None) => Ok(found),
            _ => catalog.resolve(schema, name, &self.search_path).map(|relation| (None, relation)),
        };
        match found {
            Ok((seen, relation)) => {
                self.used.lock().insert(relation.id);
                Ok(Some((relation.id, Arc::new(self.relation_of(relation, seen)))))
            }
            Err(error) if error.state() == SqlState::UNDEFINED_TABLE => {
                Ok(self.late_relation(schema, name).map(|relation| (relation.id, Arc::new(relation))))
            }
            Err(error) => Err(error),
        }
    }

    fn system_relation(&self, schema: Option<&str>, name: &str) -> Option<planner::Relation> {
        let (schema, provider) =
            system::relation(self.database.as_ref()?, &self.published, self.facts.as_ref()?, schema, name)?;
        Some(system_relation(schema, name, provider))
    }
}

/// A relation that is computed when it is read.
pub fn system_relation(schema: String, name: &str, provider: Arc<dyn TableProvider>) -> planner::Relation {
    planner::Relation {
        id: RelationId(0),
        schema_name: schema,
        name: name.to_owned(),
        kind: planner::RelationKind::System,
        schema: provider.schema(),
        append_only: false,
        unique_key: None,
        event_time: None,
        watermarked: false,
        hidden: None,
        keys: vec![],
        view_query: None,
        provider,
        defaults: vec![],
        generated: vec![],
        checks: vec![],
    }
}

impl planner::Catalog for Context {
    fn relation(&self, name: &[String]) -> Result<Option<Arc<planner::Relation>>> {
        if let [name] = name
            && let Some(rows) = self.given.find(name)
        {
            return rows.relation().map(Some);
        }
        let found = self.find(name, &self.meant)?;
        self.named.lock().extend(found.iter().map(|(id, _)| *id));
        Ok(found.map(|(_, relation)| relation))
    }

    fn relation_in_view(&self, view: RelationId, name: &[String]) -> Result<Option<Arc<planner::Relation>>> {
        let meant = self.published.catalog.get(view).map(|view| view.seen.as_slice());
        Ok(self.find(name, meant.unwrap_or_default())?.map(|(_, relation)| relation))
    }
}

fn kind_of(kind: &RelationKind) -> planner::RelationKind {
    match kind {
        RelationKind::Table(table) if !table.is_stored() => planner::RelationKind::Sink,
        RelationKind::Table(_) => planner::RelationKind::Table,
        RelationKind::Source { .. } => planner::RelationKind::Source,
        RelationKind::View { .. } => planner::RelationKind::View,
        RelationKind::MaterializedView { .. } => planner::RelationKind::MaterializedView,
        RelationKind::Sink { .. } | RelationKind::Job { .. } => planner::RelationKind::Sink,
        RelationKind::Sequence(_) => planner::RelationKind::Sequence,
    }
}

/// The first columns of a schema under other names.
fn schema_seen(schema: &SchemaRef, names: &[String]) -> SchemaRef {
    let fields = schema.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A generated column may use the others, but none that is generated too.
fn check_generated(relation: &catalog::Relation, column: &catalog::Column, text: &str) -> Result<()> {
    for other in relation.columns.iter().filter(|other| matches!(other.generated, Some(catalog::Generated::Stored(_))))
    {
        if mentions(text, &other.name)? {
            let message = format!("cannot use generated column \"{}\" in column generation expression", other.name);
            return Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, message)
                .with_detail("A generated column cannot reference another generated column."));
        }
    }
    match column.default {
        None => Ok(()),
        Some(_) => {
            let (name, table) = (&column.name, &relation.name);
            let message =
                format!("both default and generation expression specified for column \"{name}\" of table \"{table}\"");
            Err(SqlError::new(SqlState::SYNTAX_ERROR, message))
        }
    }
}

/// Columns of which no two rows agree: a key that refuses NULL, or that of a view's rows.
fn unique_columns(relation: &catalog::Relation, keys: &[RelationKey]) -> Option<Vec<usize>> {
    let refuses_null = |column: &usize| relation.columns[*column].not_null;
    let is_view = matches!(relation.kind, RelationKind::MaterializedView { .. });
    let mut keys = keys.iter().filter(|key| key.unique);
    let key = keys.find(|key| (is_view && key.model == relation.id) || key.columns.iter().all(refuses_null));
    key.map(|key| key.columns.clone())
}

/// The text of a column's default as it is planned: what `nextval` takes is a name.
fn default(column: &catalog::Column) -> Option<String> {
    column.default.as_deref().map(without_regclass)
}

fn generated(column: &catalog::Column) -> Option<planner::Generated> {
    match &column.generated {
        Some(catalog::Generated::Stored(expression)) => Some(planner::Generated::Stored(expression.clone())),
        Some(catalog::Generated::Always) => Some(planner::Generated::Identity),
        Some(catalog::Generated::Arrival) => Some(planner::Generated::Arrival),
        Some(catalog::Generated::ByDefault) | None => None,
    }
}

/// The functions of every session in the session's zone.
fn zoned(database: &Database, session: &Session) -> FunctionSource {
    let name = session.settings.get("TimeZone").unwrap_or_default();
    let mut known = database.zoned.lock();
    if let Some(functions) = known.get(name) {
        return functions.clone();
    }
    let functions = in_zone(database.functions.clone(), session, session.settings.format().time_zone);
    if known.len() >= ZONES_MAX {
        known.clear();
    }
    known.insert(name.to_owned(), functions.clone());
    functions
}

/// Functions that read local times in the session's zone; UTC is what they do anyway.
fn in_zone(functions: FunctionSource, session: &Session, time_zone: TimeZone) -> FunctionSource {
    if time_zone == TimeZone::UTC {
        return functions;
    }
    match session.settings.get("TimeZone") {
        Ok(name) => in_zone_of_name(functions, name),
        Err(_) => functions,
    }
}

fn in_zone_of_name(functions: FunctionSource, name: &str) -> FunctionSource {
    let mut state = functions.state().clone();
    state.config_mut().options_mut().execution.time_zone = Some(name.to_owned());
    FunctionSource::new(state)
}

fn schema_and_name(parts: &[String]) -> Result<(Option<&str>, &str)> {
    match parts {
        [name] => Ok((None, name)),
        [schema, name] | [_, schema, name] => Ok((Some(schema), name)),
        _ => {
            let message = format!("improper relation name (too many dotted names): {}", parts.join("."));
            Err(SqlError::new(SqlState::SYNTAX_ERROR, message))
        }
    }
}

/// Whether a text may concern system relations or functions. Saying yes too often costs time only.
pub fn concerns_system(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "pg_",
        "information_schema",
        "current_",
        "session_user",
        "version",
        "setting",
        "set_config",
        "has_",
        "_description",
        "format_type",
        "quote_",
        "to_reg",
        "regclass",
        "regtype",
        "regproc",
        "regnamespace",
        "millrace",
        "inet_",
        "txid",
        "::oid",
        "operator(",
        "parse_ident",
        "like_escape",
        " user",
    ];
    let text = text.to_ascii_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}
