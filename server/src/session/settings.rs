//! Run-time parameters: `SET`, `SHOW`, `RESET`, and those that clients send at startup.

use super::Isolation;
use millrace_types::{Result, SqlError, SqlState};
use millrace_wire::{TextFormat, TimeZone, client_encoding};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A parameter that the server knows.
struct Known {
    /// As Postgres spells it; look-ups ignore case.
    name: &'static str,
    default: &'static str,
    kind: Kind,
}

/// Which values a parameter takes.
enum Kind {
    /// Anything.
    Text,
    Bool,
    Integer,
    /// A time span: a number of milliseconds, or a number with a unit.
    Duration,
    /// One of these words.
    Word(&'static [&'static str]),
    /// What the server is; it cannot be set.
    Fixed,
    TimeZone,
    Encoding,
    /// Only ISO output is there; the order of day and month is accepted and without effect.
    DateStyle,
}

const ISOLATION_LEVELS: &[&str] = &["serializable", "repeatable read", "read committed", "read uncommitted"];

macro_rules! known {
    ($($name:literal = $default:literal $kind:expr;)*) => {
        const KNOWN: &[Known] = &[$(Known { name: $name, default: $default, kind: $kind }),*];
    };
}

known! {
    "application_name" = "" Kind::Text;
    "background_ddl" = "off" Kind::Bool;
    "backslash_quote" = "safe_encoding" Kind::Text;
    "bytea_output" = "hex" Kind::Word(&["hex"]);
    "check_function_bodies" = "on" Kind::Bool;
    "client_encoding" = "UTF8" Kind::Encoding;
    "client_min_messages" = "notice" Kind::Text;
    "constraint_exclusion" = "partition" Kind::Text;
    "cursor_tuple_fraction" = "0.1" Kind::Text;
    "DateStyle" = "ISO, MDY" Kind::DateStyle;
    "default_table_access_method" = "heap" Kind::Text;
    "default_tablespace" = "" Kind::Text;
    "default_text_search_config" = "pg_catalog.english" Kind::Text;
    "default_transaction_deferrable" = "off" Kind::Bool;
    "default_transaction_isolation" = "read committed" Kind::Word(ISOLATION_LEVELS);
    "default_transaction_read_only" = "off" Kind::Bool;
    "effective_cache_size" = "4GB" Kind::Text;
    "enable_bitmapscan" = "on" Kind::Bool;
    "enable_gathermerge" = "on" Kind::Bool;
    "enable_hashagg" = "on" Kind::Bool;
    "enable_hashjoin" = "on" Kind::Bool;
    "enable_incremental_sort" = "on" Kind::Bool;
    "enable_indexonlyscan" = "on" Kind::Bool;
    "enable_indexscan" = "on" Kind::Bool;
    "enable_material" = "on" Kind::Bool;
    "enable_memoize" = "on" Kind::Bool;
    "enable_mergejoin" = "on" Kind::Bool;
    "enable_nestloop" = "on" Kind::Bool;
    "enable_parallel_append" = "on" Kind::Bool;
    "enable_parallel_hash" = "on" Kind::Bool;
    "enable_partition_pruning" = "on" Kind::Bool;
    "enable_partitionwise_aggregate" = "off" Kind::Bool;
    "enable_partitionwise_join" = "off" Kind::Bool;
    "enable_seqscan" = "on" Kind::Bool;
    "enable_sort" = "on" Kind::Bool;
    "enable_tidscan" = "on" Kind::Bool;
    "escape_string_warning" = "on" Kind::Bool;
    "extra_float_digits" = "1" Kind::Integer;
    "force_parallel_mode" = "off" Kind::Text;
    "from_collapse_limit" = "8" Kind::Text;
    "geqo" = "on" Kind::Bool;
    "hash_mem_multiplier" = "2" Kind::Text;
    "idle_in_transaction_session_timeout" = "0" Kind::Duration;
    "idle_session_timeout" = "0" Kind::Duration;
    "in_hot_standby" = "off" Kind::Fixed;
    "integer_datetimes" = "on" Kind::Fixed;
    "IntervalStyle" = "postgres" Kind::Word(&["postgres"]);
    "is_superuser" = "on" Kind::Fixed;
    "jit" = "off" Kind::Bool;
    "join_collapse_limit" = "8" Kind::Text;
    "lc_collate" = "C" Kind::Fixed;
    "lc_ctype" = "C.UTF-8" Kind::Fixed;
    "lc_messages" = "C" Kind::Text;
    "lc_monetary" = "C" Kind::Text;
    "lc_numeric" = "C" Kind::Text;
    "lc_time" = "C" Kind::Text;
    "lock_timeout" = "0" Kind::Duration;
    "maintenance_work_mem" = "64MB" Kind::Text;
    "max_connections" = "100" Kind::Fixed;
    "max_identifier_length" = "63" Kind::Fixed;
    "max_index_keys" = "32" Kind::Fixed;
    "max_parallel_workers_per_gather" = "0" Kind::Text;
    "min_parallel_table_scan_size" = "8MB" Kind::Text;
    "parallel_leader_participation" = "on" Kind::Bool;
    "parallel_setup_cost" = "1000" Kind::Text;
    "parallel_tuple_cost" = "0.1" Kind::Text;
    "plan_cache_mode" = "auto" Kind::Text;
    "random_page_cost" = "4" Kind::Text;
    "row_security" = "on" Kind::Bool;
    "search_path" = "\"$user\", public" Kind::Text;
    "seq_page_cost" = "1" Kind::Text;
    "server_encoding" = "UTF8" Kind::Fixed;
    "server_version" = "15.0" Kind::Fixed;
    "server_version_num" = "150000" Kind::Fixed;
    "session_authorization" = "" Kind::Text;
    "standard_conforming_strings" = "on" Kind::Word(&["on"]);
    "statement_timeout" = "0" Kind::Duration;
    "synchronize_seqscans" = "on" Kind::Bool;
    "synchronous_commit" = "on" Kind::Word(&["on", "off", "local", "remote_write", "remote_apply"]);
    "TimeZone" = "UTC" Kind::TimeZone;
    "transaction_deferrable" = "off" Kind::Bool;
    "transaction_isolation" = "read committed" Kind::Word(ISOLATION_LEVELS);
    "transaction_read_only" = "off" Kind::Bool;
    "work_mem" = "64MB" Kind::Text;
    "xmloption" = "content" Kind::Text;
}

/// Parameters whose changes the client is told of, as in Postgres.
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// The parameters of one session.
pub struct Settings {
    /// Values that differ from the default, by canonical name.
    values: Arc<BTreeMap<String, String>>,
    /// What the client asked for at startup: RESET goes back to it.
    startup: Arc<BTreeMap<String, String>>,
    /// What the values were before the transaction, for ROLLBACK; `None` outside of one.
    before_transaction: Option<Arc<BTreeMap<String, String>>>,
    /// Values to go back to at the end of the transaction, after SET LOCAL.
    local: BTreeMap<String, Option<String>>,
    /// Reported parameters that changed since the client was last told.
    changed: Vec<String>,
    /// The schema of the session's temporary relations, which is searched first.
    temporary_schema: Option<String>,
    asked: Asked,
}

/// What every statement asks for, ready: it follows from the values.
#[derive(Default)]
struct Asked {
    format: TextFormat,
    search_path: Arc<[String]>,
    synchronous_commit: bool,
    isolation: Isolation,
    default_isolation: Isolation,
    timeouts: [Option<Duration>; TIMEOUTS.len()],
}

/// The timeouts that statements and sessions have.
const TIMEOUTS: [&str; 3] = ["statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"];

impl Settings {
    /// The settings of a new session. Parameters that a client sends at startup are set as by SET.
    pub fn new(user: &str, startup: &[(String, String)]) -> Result<Settings> {
        let mut settings = Settings {
            values: Arc::default(),
            startup: Arc::default(),
            before_transaction: None,
            local: BTreeMap::new(),
            changed: REPORTED.iter().map(|name| (*name).to_owned()).collect(),
            temporary_schema: None,
            asked: Asked::default(),
        };
        settings.put("session_authorization".to_owned(), Some(user.to_owned()))?;
        for (name, value) in startup {
            settings.set(name, value)?;
        }
        settings.startup = settings.values.clone();
        Ok(settings)
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// `42704` for a parameter that there is not.
    pub fn get(&self, name: &str) -> Result<&str> {
        let name = canonical(name)?;
        let default = || known(&name).map(|known| known.default);
        self.values.get(&name).map(String::as_str).or_else(default).ok_or_else(|| unrecognized(&name))
    }

    /// Sets a parameter for the session.
    ///
    /// # Errors
    /// `42704` for a parameter that there is not, `22023` for a value that it does not take, `55P02` for what the
    /// server is.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let name = canonical(name)?;
        let value = checked(&name, value)?;
        self.put(name, Some(value))
    }

    /// Sets a parameter until the transaction ends.
    pub fn set_local(&mut self, name: &str, value: &str) -> Result<()> {
        let name = canonical(name)?;
        let value = checked(&name, value)?;
        let before = self.values.get(&name).cloned();
        self.local.entry(name.clone()).or_insert(before);
        self.put(name, Some(value))
    }

    /// Goes back to the value that the session started with.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        let name = canonical(name)?;
        if matches!(known(&name).map(|known| &known.kind), Some(Kind::Fixed)) {
            return Err(fixed(&name));
        }
        let value = self.startup.get(&name).cloned();
        self.put(name, value)
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) -> Result<()> {
        let names: Vec<_> = self.values.keys().chain(self.startup.keys()).cloned().collect();
        names.into_iter().filter(|name| name != "session_authorization").try_for_each(|name| self.reset(&name))
    }

    fn put(&mut self, name: String, value: Option<String>) -> Result<()> {
        if REPORTED.contains(&name.as_str()) && !self.changed.contains(&name) {
            self.changed.push(name.clone());
        }
        match value {
            Some(value) => Arc::make_mut(&mut self.values).insert(name, value),
            None => Arc::make_mut(&mut self.values).remove(&name),
        };
        self.asked = self.ask()?;
        Ok(())
    }

    fn ask(&self) -> Result<Asked> {
        let format = TextFormat {
            time_zone: TimeZone::parse(self.get("TimeZone")?)?,
            extra_float_digits: self.get("extra_float_digits")?.parse().unwrap_or(1),
        };
        let unquoted = self.get("search_path")?.split(',').map(|part| part.trim().trim_matches(['"', '\'']).to_owned());
        let named = unquoted.filter(|part| !part.is_empty() && part != "$user");
        let timeout = |name| {
            let milliseconds = self.get(name).ok().and_then(milliseconds)?;
            (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
        };
        Ok(Asked {
            format,
            search_path: self.temporary_schema.iter().cloned().chain(named).collect(),
            synchronous_commit: self.get("synchronous_commit")? != "off",
            isolation: Isolation::named(self.get("transaction_isolation")?),
            default_isolation: Isolation::named(self.get("default_transaction_isolation")?),
            timeouts: TIMEOUTS.map(timeout),
        })
    }

    /// The schema of the session's temporary relations.
    pub fn temporary_schema(&self) -> Option<&str> {
        self.temporary_schema.as_deref()
    }

    /// From now on the session has, or no longer has, temporary relations.
    pub fn set_temporary_schema(&mut self, schema: Option<String>) -> Result<()> {
        self.temporary_schema = schema;
        self.asked = self.ask()?;
        Ok(())
    }

    /// A transaction begins: what is set in it is undone if it rolls back.
    pub fn begin(&mut self) {
        self.before_transaction = Some(self.values.clone());
    }

    /// The transaction ended.
    pub fn end(&mut self, committed: bool) -> Result<()> {
        let before = self.before_transaction.take();
        for (name, value) in std::mem::take(&mut self.local) {
            self.put(name, value)?;
        }
        let Some(before) = before.filter(|_| !committed) else { return Ok(()) };
        let names: Vec<_> = self.values.keys().chain(before.keys()).cloned().collect();
        names.into_iter().try_for_each(|name| {
            let value = before.get(&name).cloned();
            if self.values.get(&name) == value.as_ref() { Ok(()) } else { self.put(name, value) }
        })
    }

    /// Reported parameters that changed since the last call, with their values.
    pub fn take_changes(&mut self) -> Vec<(String, String)> {
        let names = std::mem::take(&mut self.changed);
        names.into_iter().filter_map(|name| Some((name.clone(), self.get(&name).ok()?.to_owned()))).collect()
    }

    /// Every parameter with its value, in the order of their names: SHOW ALL and `pg_settings`.
    pub fn all(&self) -> Vec<(String, String)> {
        let known = KNOWN.iter().map(|known| (known.name.to_owned(), known.default.to_owned()));
        let mut all: BTreeMap<_, _> = known.collect();
        all.extend(BTreeMap::clone(&self.values));
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(name, _)| name.to_lowercase());
        all
    }

    /// How values are shown.
    pub fn format(&self) -> &TextFormat {
        &self.asked.format
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_ok_and(|value| value == "on")
    }

    /// Whether an acknowledged commit must be on disk.
    pub fn synchronous_commit(&self) -> bool {
        self.asked.synchronous_commit
    }

    /// What a transaction sees of others: the open block, or a statement outside of one.
    pub fn isolation(&self, in_block: bool) -> Isolation {
        if in_block { self.asked.isolation } else { self.asked.default_isolation }
    }

    /// A timeout; `None` for 0, which switches it off.
    pub fn timeout(&self, name: &str) -> Option<Duration> {
        TIMEOUTS.iter().position(|timeout| *timeout == name).and_then(|place| self.asked.timeouts[place])
    }

    /// The schemas in which unqualified names are looked up. `"$user"` stands for nothing here.
    pub fn search_path(&self) -> &Arc<[String]> {
        &self.asked.search_path
    }
}

fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

/// A parameter's name as the server spells it. Names with a dot are the clients' own.
pub fn canonical(name: &str) -> Result<String> {
    match known(name) {
        Some(known) => Ok(known.name.to_owned()),
        None if name.contains('.') => Ok(name.to_lowercase()),
        None => Err(unrecognized(name)),
    }
}

fn unrecognized(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

fn fixed(name: &str) -> SqlError {
    SqlError::new(SqlState::CANT_CHANGE_RUNTIME_PARAM, format!("parameter \"{name}\" cannot be changed"))
}

/// The value as it is kept, if the parameter takes it.
fn checked(name: &str, value: &str) -> Result<String> {
    let invalid = || {
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": \"{value}\""))
    };
    let Some(known) = known(name) else { return Ok(value.to_owned()) };
    match known.kind {
        Kind::Text => Ok(value.to_owned()),
        Kind::Fixed => Err(fixed(name)),
        Kind::Bool => boolean(value).map(|on| if on { "on" } else { "off" }.to_owned()).ok_or_else(|| {
            let message = format!("parameter \"{name}\" requires a Boolean value");
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
        }),
        Kind::Integer => value.trim().parse::<i32>().map(|n| n.to_string()).map_err(|_| invalid()),
        Kind::Duration => milliseconds(value).map(|_| value.trim().to_owned()).ok_or_else(invalid),
        Kind::Word(words) => {
            let word = match boolean(value) {
                Some(on) if words.contains(&"on") => if on { "on" } else { "off" }.to_owned(),
                _ => value.to_lowercase(),
            };
            let hint = || format!("Available values: {}.", words.join(", "));
            if words.contains(&word.as_str()) { Ok(word) } else { Err(invalid().with_hint(hint())) }
        }
        Kind::TimeZone => TimeZone::parse(value).map(|zone| zone.to_string()),
        Kind::Encoding => client_encoding(value).map(str::to_owned),
        Kind::DateStyle => {
            let style = value.to_uppercase();
            let words = || style.split(',').map(str::trim);
            let order = words().find(|word| ["MDY", "DMY", "YMD"].contains(word)).unwrap_or("MDY");
            let accepted = words().all(|word| ["ISO", "MDY", "DMY", "YMD", "DEFAULT"].contains(&word));
            let hint = "Only the ISO style is supported.";
            if accepted { Ok(format!("ISO, {order}")) } else { Err(invalid().with_hint(hint)) }
        }
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "on" | "true" | "yes" | "1" | "t" | "y" => Some(true),
        "off" | "false" | "no" | "0" | "f" | "n" => Some(false),
        _ => None,
    }
}

fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value[..digits].parse().ok()?;
    let factor = match value[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("ada", &[("client_encoding".to_owned(), "'utf-8'".to_owned())]).unwrap()
    }

    #[test]
    fn values_are_checked_and_kept_in_canonical_form() {
        let mut settings = settings();
        settings.set("datestyle", "iso, dmy").unwrap();
        settings.set("synchronous_commit", "false").unwrap();
        settings.set("statement_timeout", "2s").unwrap();
        settings.set("my.app", "x").unwrap();
        assert_eq!(settings.get("DateStyle").unwrap(), "ISO, DMY");
        assert!(!settings.synchronous_commit());
        assert_eq!(settings.timeout("statement_timeout"), Some(Duration::from_secs(2)));
        assert_eq!(settings.get("MY.APP").unwrap(), "x");
        let state = |result: Result<()>| result.unwrap_err().state();
        assert_eq!(state(settings.set("nonsense", "1")), SqlState::UNDEFINED_OBJECT);
        assert_eq!(state(settings.set("server_version", "9")), SqlState::CANT_CHANGE_RUNTIME_PARAM);
        assert_eq!(state(settings.set("jit", "perhaps")), SqlState::INVALID_PARAMETER_VALUE);
        assert_eq!(state(settings.set("DateStyle", "German")), SqlState::INVALID_PARAMETER_VALUE);
    }

    #[test]
    fn transactions_undo_what_they_set() {
        let mut settings = settings();
        settings.begin();
        settings.set("application_name", "inside").unwrap();
        settings.end(false).unwrap();
        assert_eq!(settings.get("application_name").unwrap(), "");
        settings.begin();
        settings.set_local("jit", "on").unwrap();
        assert!(settings.is_on("jit"));
        settings.end(true).unwrap();
        assert!(!settings.is_on("jit"));
    }

    #[test]
    fn clients_are_told_once_of_what_changed() {
        let mut settings = settings();
        assert_eq!(settings.take_changes().len(), REPORTED.len());
        settings.set("TimeZone", "Europe/Berlin").unwrap();
        assert_eq!(settings.take_changes(), [("TimeZone".to_owned(), "Europe/Berlin".to_owned())]);
        assert!(settings.take_changes().is_empty());
    }
}
