//! Errors and notices as messages.

use crate::backend::Notice;
use millrace_types::SqlError;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};

/// Why a message or a statement did not succeed, by what has to happen next.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The statement failed: report it and go on.
    Statement(SqlError),
    /// Report it and end the connection.
    Fatal(SqlError),
    /// There is nobody to report to.
    Gone,
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        Failure::Statement(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Failure {
        Failure::Gone
    }
}

/// An error that ends the statement.
pub(crate) fn error(error: &SqlError) -> ErrorResponse {
    ErrorResponse::new(fields("ERROR", error))
}

/// An error that ends the connection.
pub(crate) fn fatal(error: &SqlError) -> ErrorResponse {
    ErrorResponse::new(fields("FATAL", error))
}

/// A notice.
pub(crate) fn notice(notice: &Notice) -> NoticeResponse {
    NoticeResponse::new(fields(&notice.severity.to_string(), &notice.content))
}

fn fields(severity: &str, error: &SqlError) -> Vec<(u8, String)> {
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', error.state().0.to_owned()),
        (b'M', error.message().to_owned()),
    ];
    fields.extend(error.detail().map(|detail| (b'D', detail.to_owned())));
    fields.extend(error.hint().map(|hint| (b'H', hint.to_owned())));
    fields.extend(error.position().map(|position| (b'P', position.to_string())));
    // A field ends at its first NUL, so one inside a text would end the field there and garble the next.
    fields.iter_mut().filter(|(_, text)| text.contains('\0')).for_each(|(_, text)| *text = text.replace('\0', "\\0"));
    fields
}
