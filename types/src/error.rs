//! Errors that a SQL client can see: an SQLSTATE, a message worded like Postgres's, and where the text went wrong.

use std::fmt;

/// The result of anything that a client can see fail.
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

/// A five-character SQLSTATE code, from the table in appendix A of the PostgreSQL manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SqlState(pub &'static str);

macro_rules! states {
    ($($name:ident = $code:literal),* $(,)?) => {
        impl SqlState {
            $(#[doc = concat!("`", $code, "`")] pub const $name: SqlState = SqlState($code);)*

            /// The state with this code, if it is one that Millrace uses.
            pub fn from_code(code: &str) -> Option<SqlState> {
                match code { $($code => Some(SqlState::$name),)* _ => None }
            }
        }
    };
}

states! {
    SUCCESSFUL_COMPLETION = "00000",
    WARNING = "01000",
    CONNECTION_FAILURE = "08006",
    PROTOCOL_VIOLATION = "08P01",
    FEATURE_NOT_SUPPORTED = "0A000",
    CARDINALITY_VIOLATION = "21000",
    STRING_DATA_RIGHT_TRUNCATION = "22001",
    NUMERIC_VALUE_OUT_OF_RANGE = "22003",
    INVALID_DATETIME_FORMAT = "22007",
    DATETIME_FIELD_OVERFLOW = "22008",
    DIVISION_BY_ZERO = "22012",
    INVALID_PRECEDING_OR_FOLLOWING_SIZE = "22013",
    INVALID_ARGUMENT_FOR_NTILE = "22014",
    INVALID_ARGUMENT_FOR_NTH_VALUE = "22016",
    INVALID_PARAMETER_VALUE = "22023",
    NULL_VALUE_NOT_ALLOWED = "22004",
    INVALID_SQL_JSON_SUBSCRIPT = "22033",
    NON_NUMERIC_SQL_JSON_ITEM = "22036",
    SINGLETON_SQL_JSON_ITEM_REQUIRED = "22038",
    SQL_JSON_ARRAY_NOT_FOUND = "22039",
    SQL_JSON_MEMBER_NOT_FOUND = "2203A",
    SQL_JSON_NUMBER_NOT_FOUND = "2203B",
    SQL_JSON_OBJECT_NOT_FOUND = "2203C",
    INVALID_REGULAR_EXPRESSION = "2201B",
    INVALID_ARGUMENT_FOR_LOGARITHM = "2201E",
    INVALID_ARGUMENT_FOR_POWER_FUNCTION = "2201F",
    INVALID_ROW_COUNT_IN_LIMIT_CLAUSE = "2201W",
    INVALID_ROW_COUNT_IN_OFFSET_CLAUSE = "2201X",
    SUBSTRING_ERROR = "22011",
    CHARACTER_NOT_IN_REPERTOIRE = "22021",
    ARRAY_SUBSCRIPT_ERROR = "2202E",
    INVALID_TEXT_REPRESENTATION = "22P02",
    INVALID_BINARY_REPRESENTATION = "22P03",
    BAD_COPY_FILE_FORMAT = "22P04",
    UNTRANSLATABLE_CHARACTER = "22P05",
    INTEGRITY_CONSTRAINT_VIOLATION = "23000",
    NOT_NULL_VIOLATION = "23502",
    FOREIGN_KEY_VIOLATION = "23503",
    UNIQUE_VIOLATION = "23505",
    CHECK_VIOLATION = "23514",
    INVALID_CURSOR_STATE = "24000",
    INVALID_TRANSACTION_STATE = "25000",
    ACTIVE_SQL_TRANSACTION = "25001",
    READ_ONLY_SQL_TRANSACTION = "25006",
    NO_ACTIVE_SQL_TRANSACTION = "25P01",
    IN_FAILED_SQL_TRANSACTION = "25P02",
    INVALID_SQL_STATEMENT_NAME = "26000",
    INVALID_AUTHORIZATION_SPECIFICATION = "28000",
    DEPENDENT_OBJECTS_STILL_EXIST = "2BP01",
    INVALID_CURSOR_NAME = "34000",
    INVALID_CATALOG_NAME = "3D000",
    INVALID_SCHEMA_NAME = "3F000",
    SERIALIZATION_FAILURE = "40001",
    SYNTAX_ERROR = "42601",
    INSUFFICIENT_PRIVILEGE = "42501",
    DUPLICATE_COLUMN = "42701",
    AMBIGUOUS_COLUMN = "42702",
    UNDEFINED_COLUMN = "42703",
    WINDOWING_ERROR = "42P20",
    UNDEFINED_OBJECT = "42704",
    DUPLICATE_OBJECT = "42710",
    DUPLICATE_ALIAS = "42712",
    AMBIGUOUS_FUNCTION = "42725",
    GROUPING_ERROR = "42803",
    DATATYPE_MISMATCH = "42804",
    WRONG_OBJECT_TYPE = "42809",
    CANNOT_COERCE = "42846",
    UNDEFINED_FUNCTION = "42883",
    RESERVED_NAME = "42939",
    INVALID_NAME = "42602",
    INVALID_COLUMN_REFERENCE = "42P10",
    UNDEFINED_TABLE = "42P01",
    UNDEFINED_PARAMETER = "42P02",
    DUPLICATE_CURSOR = "42P03",
    DUPLICATE_PREPARED_STATEMENT = "42P05",
    DUPLICATE_SCHEMA = "42P06",
    DUPLICATE_TABLE = "42P07",
    INVALID_TABLE_DEFINITION = "42P16",
    GENERATED_ALWAYS = "428C9",
    INVALID_OBJECT_DEFINITION = "42P17",
    SEQUENCE_GENERATOR_LIMIT_EXCEEDED = "2200H",
    INDETERMINATE_DATATYPE = "42P18",
    DISK_FULL = "53100",
    OUT_OF_MEMORY = "53200",
    TOO_MANY_CONNECTIONS = "53300",
    PROGRAM_LIMIT_EXCEEDED = "54000",
    STATEMENT_TOO_COMPLEX = "54001",
    TOO_MANY_COLUMNS = "54011",
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000",
    OBJECT_IN_USE = "55006",
    CANT_CHANGE_RUNTIME_PARAM = "55P02",
    QUERY_CANCELED = "57014",
    ADMIN_SHUTDOWN = "57P01",
    CANNOT_CONNECT_NOW = "57P03",
    IO_ERROR = "58030",
    UNDEFINED_FILE = "58P01",
    CONFIG_FILE_ERROR = "F0000",
    INTERNAL_ERROR = "XX000",
    DATA_CORRUPTED = "XX001",
}

impl SqlState {
    /// Whether it is of the class of errors of connections: what failed may work later.
    pub fn is_connection(self) -> bool {
        self.0.starts_with("08")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An error as a Postgres client shows it. `message` is lowercase without a final period; `detail` and `hint` are
/// sentences. Boxed inside, so that a `Result` stays small.
#[derive(Clone, PartialEq, Eq)]
pub struct SqlError(Box<Fields>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields {
    state: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<usize>,
}

impl SqlError {
    /// An error with this state and message.
    pub fn new(state: SqlState, message: impl Into<String>) -> SqlError {
        SqlError(Box::new(Fields { state, message: message.into(), detail: None, hint: None, position: None }))
    }

    /// `0A000`: a construct that is understood and not supported. `what` names it, as in `"FULL JOIN in a view"`.
    pub fn unsupported(what: impl fmt::Display) -> SqlError {
        SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// `XX000`: a broken invariant of ours.
    pub fn internal(message: impl Into<String>) -> SqlError {
        SqlError::new(SqlState::INTERNAL_ERROR, message)
    }

    /// The same error with a DETAIL sentence.
    pub fn with_detail(mut self, detail: impl Into<String>) -> SqlError {
        self.0.detail = Some(detail.into());
        self
    }

    /// The same error with a HINT sentence.
    pub fn with_hint(mut self, hint: impl Into<String>) -> SqlError {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error pointing at a character of the statement, counted from 1.
    pub fn at(mut self, position: usize) -> SqlError {
        self.0.position = Some(position);
        self
    }

    /// The same error without its position: for a text that the client did not write.
    pub fn unplaced(mut self) -> SqlError {
        self.0.position = None;
        self
    }

    /// The same error with the position, if any, moved by `by` characters: for a statement inside a longer text.
    pub fn shifted(mut self, by: usize) -> SqlError {
        self.0.position = self.0.position.map(|p| p + by);
        self
    }

    /// The SQLSTATE.
    pub fn state(&self) -> SqlState {
        self.0.state
    }

    /// The primary message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The DETAIL sentence.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The HINT sentence.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The character of the statement that the error is about, counted from 1.
    pub fn position(&self) -> Option<usize> {
        self.0.position
    }
}

impl fmt::Debug for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for SqlError {}

impl From<std::io::Error> for SqlError {
    fn from(error: std::io::Error) -> SqlError {
        use std::io::ErrorKind;
        let state = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => SqlState::DISK_FULL,
            ErrorKind::NotFound => SqlState::UNDEFINED_FILE,
            _ => SqlState::IO_ERROR,
        };
        SqlError::new(state, error.to_string())
    }
}

impl From<arrow::error::ArrowError> for SqlError {
    /// Kernels report what a row's value did; the state follows from the kind.
    fn from(error: arrow::error::ArrowError) -> SqlError {
        use arrow::error::ArrowError::*;
        match error {
            DivideByZero => SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"),
            ArithmeticOverflow(what) => {
                SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range").with_detail(what)
            }
            CastError(what) | ParseError(what) => SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, what),
            ExternalError(inner) => match inner.downcast::<SqlError>() {
                Ok(ours) => *ours,
                Err(other) => SqlError::internal(other.to_string()),
            },
            other => SqlError::internal(other.to_string()),
        }
    }
}
