//! Typed `WITH (...)` options. Each connector declares its options as a list of [`OptionInfo`]; the same list checks
//! what a statement gives, words the errors, and is the documentation.

use crate::value::datetime;
use millrace_types::{Result, SqlError, SqlState};
use std::fmt;

/// The option that names the connector.
pub const CONNECTOR: &str = "connector";

/// One option of a connector. A name may hold a placeholder in angle brackets, as `<column>`, which stands for any text.
#[derive(Debug)]
pub struct OptionInfo {
    pub name: &'static str,
    /// Other spellings that mean the same.
    pub aliases: &'static [&'static str],
    pub kind: OptionKind,
    /// What holds when the option is not given; `None` leaves it unset.
    pub default: Option<&'static str>,
    pub required: bool,
    /// A sentence for the manual.
    pub doc: &'static str,
}

/// What values an option takes.
#[derive(Debug)]
pub enum OptionKind {
    Text,
    Boolean,
    /// A whole number of at least this.
    Integer(i64),
    /// A number within these bounds.
    Number(f64, f64),
    /// An ISO 8601 date and time, in UTC unless it says otherwise.
    Timestamp,
    /// One ASCII character; `\t` is a tab.
    Character,
    OneOf(&'static [&'static str]),
}

/// The unit of times in JSON, for every connector that reads it.
pub const TIMESTAMP_FORMAT: OptionInfo = OptionInfo::new(
    "timestamp.format",
    OptionKind::OneOf(&["iso", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"]),
    "The unit in which JSON numbers count time since 1970; texts are always ISO 8601.",
)
.default("epoch_ms");

/// What separates fields of CSV that is read.
pub const DELIMITER: OptionInfo =
    OptionInfo::new("delimiter", OptionKind::Character, "CSV: what separates fields.").default(",");

/// What encloses fields of CSV that is read.
pub const QUOTE: OptionInfo =
    OptionInfo::new("quote", OptionKind::Character, "CSV: what encloses fields that need it.").default("\"");

/// What is NULL in CSV that is read.
pub const NULL: OptionInfo =
    OptionInfo::new("null", OptionKind::Text, "CSV: the unquoted text that means NULL.").default("");

impl OptionInfo {
    /// An option that need not be given and has no default.
    pub const fn new(name: &'static str, kind: OptionKind, doc: &'static str) -> OptionInfo {
        OptionInfo { name, aliases: &[], kind, default: None, required: false, doc }
    }

    /// The same with other spellings.
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> OptionInfo {
        self.aliases = aliases;
        self
    }

    /// The same with a default.
    pub const fn default(mut self, value: &'static str) -> OptionInfo {
        self.default = Some(value);
        self
    }

    /// The same, refused when missing.
    pub const fn required(mut self) -> OptionInfo {
        self.required = true;
        self
    }

    /// Whether `name` is this option; the text that stands for the placeholder, if the name has one.
    fn matches<'a>(&self, name: &'a str) -> Option<Option<&'a str>> {
        if let Some((before, rest)) = self.name.split_once('<') {
            let after = rest.split_once('>').map_or("", |(_, after)| after);
            let text = name.strip_prefix(before)?.strip_suffix(after)?;
            return (!text.is_empty()).then_some(Some(text));
        }
        (name == self.name || self.aliases.contains(&name)).then_some(None)
    }
}

impl fmt::Display for OptionKind {
    /// What a value must be, as an error's detail says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionKind::Text => f.write_str("a text"),
            OptionKind::Boolean => f.write_str("true or false"),
            OptionKind::Integer(least) => write!(f, "a whole number of at least {least}"),
            OptionKind::Number(least, most) if *most == f64::MAX => write!(f, "a number of at least {least}"),
            OptionKind::Number(least, most) => write!(f, "a number from {least} to {most}"),
            OptionKind::Timestamp => f.write_str("a timestamp such as 2015-07-15 00:00:00"),
            OptionKind::Character => f.write_str("a single one-byte character"),
            OptionKind::OneOf(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                write!(f, "one of {}", quoted.join(", "))
            }
        }
    }
}

/// A value of an option, of the type that its kind says.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Boolean(bool),
    Integer(i64),
    Number(f64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Boolean(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Number(value) => value.fmt(f),
        }
    }
}

impl OptionKind {
    fn parse(&self, text: &str) -> Option<Value> {
        match self {
            OptionKind::Text => Some(Value::Text(text.to_owned())),
            OptionKind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" | "t" => Some(Value::Boolean(true)),
                "false" | "off" | "no" | "0" | "f" => Some(Value::Boolean(false)),
                _ => None,
            },
            OptionKind::Integer(least) => {
                text.trim().replace('_', "").parse().ok().filter(|n| n >= least).map(Value::Integer)
            }
            OptionKind::Number(least, most) => {
                text.trim().parse().ok().filter(|n| (*least..=*most).contains(n)).map(Value::Number)
            }
            OptionKind::Timestamp => datetime::timestamptz(text.trim().as_bytes()).ok().map(Value::Integer),
            OptionKind::Character => match text.as_bytes() {
                b"\\t" => Some(Value::Text("\t".to_owned())),
                [byte] if byte.is_ascii() => Some(Value::Text(text.to_owned())),
                _ => None,
            },
            OptionKind::OneOf(words) => {
                words.iter().find(|word| word.eq_ignore_ascii_case(text)).map(|word| Value::Text((*word).to_owned()))
            }
        }
    }
}

/// The checked options of one statement.
#[derive(Debug)]
pub struct Options {
    connector: &'static str,
    infos: &'static [OptionInfo],
    given: Vec<Given>,
}

#[derive(Debug)]
struct Given {
    info: &'static OptionInfo,
    /// What stands for the placeholder of the name.
    column: Option<String>,
    value: Value,
}

impl Options {
    /// Checks `given` against the list of a connector's options. [`CONNECTOR`] itself is passed over.
    pub fn parse(connector: &'static str, infos: &'static [OptionInfo], given: &[(String, String)]) -> Result<Options> {
        let mut options = Options { connector, infos, given: Vec::new() };
        for (name, text) in given.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(CONNECTOR)) {
            options.add(name, text)?;
        }
        if let Some(info) = infos.iter().find(|info| info.required && options.value(info.name).is_none()) {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("connector \"{connector}\" requires the option \"{}\"", info.name),
            )
            .with_detail(info.doc));
        }
        Ok(options)
    }

    fn add(&mut self, name: &str, text: &str) -> Result<()> {
        let Some((info, column)) = self.infos.iter().find_map(|info| Some((info, info.matches(name)?))) else {
            return Err(self.unknown(name));
        };
        let column = column.map(str::to_owned);
        if self.given.iter().any(|g| g.info.name == info.name && g.column == column) {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("option \"{name}\" is given more than once")));
        }
        let value = info.kind.parse(text).ok_or_else(|| {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for option \"{name}\": \"{text}\""))
                .with_detail(format!("The option takes {}.", info.kind))
        })?;
        self.given.push(Given { info, column, value });
        Ok(())
    }

    fn unknown(&self, name: &str) -> SqlError {
        let error = SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("unrecognized option \"{name}\" for connector \"{}\"", self.connector),
        );
        let names = self.infos.iter().flat_map(|info| std::iter::once(&info.name).chain(info.aliases));
        match nearest(name, names.copied()) {
            Some(known) => error.with_hint(format!("Perhaps you meant the option \"{known}\".")),
            None => {
                let known: Vec<_> = self.infos.iter().map(|info| format!("\"{}\"", info.name)).collect();
                error.with_hint(format!("The options of this connector are {}.", known.join(", ")))
            }
        }
    }

    /// An error about the value of an option.
    pub fn invalid(&self, name: &str, detail: impl Into<String>) -> SqlError {
        let message = format!("invalid value for option \"{name}\" of connector \"{}\"", self.connector);
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).with_detail(detail)
    }

    fn value(&self, name: &str) -> Option<Value> {
        if let Some(given) = self.given.iter().find(|given| given.info.name == name) {
            return Some(given.value.clone());
        }
        let info = self.infos.iter().find(|info| info.name == name)?;
        info.default.and_then(|text| info.kind.parse(text))
    }

    /// A text, a word of a list, or a character; `None` when it is not given and has no default.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The byte of an option that is a character.
    pub fn character(&self, name: &str) -> Option<u8> {
        self.text(name)?.bytes().next()
    }

    /// A boolean; false when it is not given and has no default.
    pub fn boolean(&self, name: &str) -> bool {
        self.value(name) == Some(Value::Boolean(true))
    }

    /// A whole number, or a timestamp in microseconds since 1970.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Integer(n) => Some(n),
            _ => None,
        }
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.value(name)? {
            Value::Number(n) => Some(n),
            _ => None,
        }
    }

    /// Whether the statement gave the option.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| given.info.name == name)
    }

    /// What was given for one column for an option whose name holds `<column>`, as text.
    pub fn of_column(&self, name: &str, column: &str) -> Option<String> {
        self.all_of(name).find(|(given, _)| *given == column).map(|(_, value)| value)
    }

    /// All that was given for an option with a placeholder: what stands for it, and the value as text.
    pub fn all_of(&self, name: &str) -> impl Iterator<Item = (&str, String)> {
        let given = self.given.iter().filter(move |given| given.info.name == name);
        given.filter_map(|given| Some((given.column.as_deref()?, given.value.to_string())))
    }

    /// The columns that options with `<column>` name.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.given
            .iter()
            .filter(|given| given.info.name.contains("<column>"))
            .filter_map(|given| given.column.as_deref())
    }
}

/// The known word nearest to `word`, if it is near enough to have been meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    known
        .map(|candidate| (edits(word.as_bytes(), candidate.as_bytes()), candidate))
        .min()
        .filter(|(distance, _)| *distance <= 1 + word.len() / 4)
        .map(|(_, candidate)| candidate)
}

/// How many insertions, deletions and replacements lead from one word to the other.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    static INFOS: &[OptionInfo] = &[
        OptionInfo::new("path", OptionKind::Text, "Where.").required(),
        OptionInfo::new("format", OptionKind::OneOf(&["json", "csv"]), "What.").default("json").aliases(&["kind"]),
        OptionInfo::new("rows", OptionKind::Integer(0), "How many."),
        OptionInfo::new("fields.<column>.min", OptionKind::Text, "From."),
    ];

    fn parse(given: &[(&str, &str)]) -> Result<Options> {
        let given: Vec<_> = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Options::parse("test", INFOS, &given)
    }

    #[test]
    fn options_are_typed_and_have_defaults_and_aliases() {
        let options =
            parse(&[("connector", "test"), ("path", "x"), ("rows", "1_000"), ("fields.a.b.min", "7")]).unwrap();
        assert_eq!(options.text("path").as_deref(), Some("x"));
        assert_eq!(options.text("format").as_deref(), Some("json"));
        assert_eq!(options.integer("rows"), Some(1000));
        assert_eq!(options.of_column("fields.<column>.min", "a.b").as_deref(), Some("7"));
        assert_eq!(parse(&[("path", "x"), ("kind", "CSV")]).unwrap().text("format").as_deref(), Some("csv"));
    }

    #[test]
    fn mistakes_are_named_with_what_was_meant() {
        let error = parse(&[("patth", "x")]).unwrap_err();
        assert_eq!(error.message(), "unrecognized option \"patth\" for connector \"test\"");
        assert_eq!(error.hint(), Some("Perhaps you meant the option \"path\"."));
        let error = parse(&[("path", "x"), ("rows", "many")]).unwrap_err();
        assert_eq!(error.detail(), Some("The option takes a whole number of at least 0."));
        let error = parse(&[("path", "x"), ("kind", "xml")]).unwrap_err();
        assert_eq!(error.detail(), Some("The option takes one of \"json\", \"csv\"."));
        assert_eq!(parse(&[]).unwrap_err().message(), "connector \"test\" requires the option \"path\"");
        assert_eq!(parse(&[("path", "x"), ("path", "y")]).unwrap_err().state(), SqlState::SYNTAX_ERROR);
    }
}
