//! CREATE SEQUENCE and the options of sequences.

use super::columns::column_type;
use super::cursor::Cursor;
use super::failure::Parsed;
use super::statement::{CreateSequence, SequenceOptions, Statement};
use sqlparser::tokenizer::Token;

/// After CREATE SEQUENCE.
pub fn create(cursor: &mut Cursor) -> Parsed<Statement> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name()?;
    Ok(Statement::CreateSequence(CreateSequence { name, if_not_exists, options: options(cursor)? }))
}

/// Options in any order, as many as there are.
pub fn options(cursor: &mut Cursor) -> Parsed<SequenceOptions> {
    let mut options = SequenceOptions::default();
    let words = [
        "as",
        "start with",
        "start",
        "increment by",
        "increment",
        "minvalue",
        "maxvalue",
        "no minvalue",
        "no maxvalue",
        "cycle",
        "no cycle",
        "cache",
        "owned by",
        "restart with",
        "restart",
    ];
    while let Some(word) = cursor.accept_one(&words) {
        match word {
            "as" => options.sql_type = Some(column_type(cursor)?),
            "start with" | "start" => options.start = Some(number(cursor)?),
            "increment by" | "increment" => options.increment = Some(number(cursor)?),
            "minvalue" => options.min = Some(number(cursor)?),
            "maxvalue" => options.max = Some(number(cursor)?),
            "cycle" => options.cycle = true,
            "no cycle" => options.cycle = false,
            // Numbers are handed out one by one: there is no cache to size.
            "cache" => drop(number(cursor)?),
            "owned by" if !cursor.accept("none") => return cursor.unsupported("OWNED BY"),
            "restart with" => options.restart = Some(Some(number(cursor)?)),
            "restart" => {
                let given = matches!(cursor.parser.peek_token_ref().token, Token::Number(..) | Token::Minus);
                options.restart = Some(if given { Some(number(cursor)?) } else { None });
            }
            _ => {}
        }
    }
    Ok(options)
}

fn number(cursor: &mut Cursor) -> Parsed<i64> {
    let negative = cursor.accept_token(&Token::Minus);
    cursor.accept_token(&Token::Plus);
    let magnitude = i128::from(cursor.parser.parse_literal_uint()?);
    let value = if negative { -magnitude } else { magnitude };
    Ok(value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}
