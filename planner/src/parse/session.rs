//! Statements about the session: settings, prepared statements, cursors, notifications, housekeeping.

use super::columns::column_type;
use super::cursor::Cursor;
use super::failure::Parsed;
use super::statement::*;
use super::{create, options, show, transaction};
use sqlparser::tokenizer::Token;

/// A statement about the session.
pub fn session(cursor: &mut Cursor) -> Parsed<Statement> {
    let word = cursor.peek_word().unwrap_or_default();
    if word == "set" {
        return set(cursor);
    }
    cursor.parser.advance_token();
    match word.as_str() {
        "reset" => reset(cursor),
        "prepare" => prepare(cursor),
        "execute" => execute(cursor),
        "deallocate" => {
            cursor.accept("prepare");
            Ok(Statement::Deallocate(all_or_name(cursor)?))
        }
        "declare" => declare(cursor),
        "fetch" | "move" => fetch(cursor, word == "move"),
        "close" => Ok(Statement::Close(all_or_name(cursor)?)),
        "discard" => discard(cursor),
        "listen" => cursor.identifier().map(Statement::Listen),
        "notify" => {
            let channel = cursor.identifier()?;
            let payload = if cursor.accept_token(&Token::Comma) { Some(cursor.string()?) } else { None };
            Ok(Statement::Notify { channel, payload })
        }
        "unlisten" if cursor.accept_token(&Token::Mul) => Ok(Statement::Unlisten(None)),
        "unlisten" => Ok(Statement::Unlisten(Some(cursor.identifier()?))),
        "truncate" => truncate(cursor),
        "refresh" => refresh(cursor),
        _ => housekeeping(cursor, &word),
    }
}

/// After ADVANCE.
fn advance(cursor: &mut Cursor) -> Parsed<SetTime> {
    match cursor.accept_one(&["clock by", "clock to", "watermark of"]) {
        Some("clock by") => Ok(SetTime::ClockBy(cursor.expression()?)),
        Some("clock to") => Ok(SetTime::Clock(cursor.expression()?)),
        Some(_) => {
            let relation = cursor.name()?;
            cursor.expect("to")?;
            Ok(SetTime::Watermark { relation, to: cursor.expression()? })
        }
        None => cursor.unexpected(),
    }
}

fn housekeeping(cursor: &mut Cursor, word: &str) -> Parsed<Statement> {
    match word {
        "flush" => Ok(Statement::Flush),
        "wait" => Ok(Statement::Wait),
        "checkpoint" => Ok(Statement::Checkpoint),
        "advance" => advance(cursor).map(Statement::SetTime),
        "cancel" => {
            cursor.accept_one(&["jobs", "job"]);
            Ok(Statement::CancelJob(cursor.parser.parse_literal_uint()?))
        }
        // Whatever they say, there is nothing to do.
        "analyze" | "analyse" => {
            cursor.skip_rest();
            Ok(Statement::Analyze)
        }
        _ => {
            cursor.skip_rest();
            Ok(Statement::Vacuum)
        }
    }
}

fn all_or_name(cursor: &mut Cursor) -> Parsed<Option<sqlparser::ast::Ident>> {
    if cursor.accept("all") { Ok(None) } else { cursor.identifier().map(Some) }
}

fn set(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("set")?;
    if cursor.accept("session characteristics as transaction") {
        return transaction::modes(cursor).map(Statement::SetSessionCharacteristics);
    }
    if cursor.accept("constraints") {
        let names = if cursor.accept("all") { vec![] } else { cursor.list(Cursor::name)? };
        return match cursor.accept_one(&["deferred", "immediate"]) {
            Some(word) => Ok(Statement::SetConstraints { names, deferred: word == "deferred" }),
            None => cursor.unexpected(),
        };
    }
    let named_session = cursor.peeks("session") && !cursor.peeks("session authorization");
    let scope = if named_session { cursor.accept_one(&["session"]) } else { cursor.accept_one(&["local"]) };
    let local = scope == Some("local");
    if cursor.accept("transaction") {
        return transaction::modes(cursor).map(Statement::SetTransaction);
    }
    let special = [
        ("time zone", "timezone"),
        ("names", "client_encoding"),
        ("session authorization", "session_authorization"),
        ("role", "role"),
        ("schema", "search_path"),
    ];
    let is_assigned = |cursor: &Cursor, words: &str| {
        let after = words.split(' ').count();
        cursor.parser.peek_nth_token_ref(after).token == Token::Eq
            || cursor.peek_word_at(after).is_some_and(|w| w == "to")
    };
    let found = special.into_iter().find(|(words, _)| cursor.peeks(words) && !is_assigned(cursor, words));
    let name = match found {
        Some((words, name)) => {
            cursor.expect(words)?;
            name.to_owned()
        }
        None => {
            let name = show::setting(cursor)?;
            if !cursor.accept_token(&Token::Eq) {
                cursor.expect("to")?;
            }
            name
        }
    };
    let values = if cursor.accept("default") { None } else { Some(cursor.list(setting_value)?) };
    Ok(Statement::Set(Set { local, name, values }))
}

/// A value of a setting; `SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE` is taken as its string.
fn setting_value(cursor: &mut Cursor) -> Parsed<String> {
    let interval = cursor.accept("interval");
    let value = options::value(cursor)?;
    if interval {
        cursor.accept("hour to minute");
    }
    Ok(value)
}

fn reset(cursor: &mut Cursor) -> Parsed<Statement> {
    if cursor.accept("all") {
        return Ok(Statement::ResetAll);
    }
    for (words, name) in [
        ("time zone", "timezone"),
        ("session authorization", "session_authorization"),
        ("transaction isolation level", "transaction_isolation"),
    ] {
        if cursor.accept(words) {
            return Ok(Statement::Reset(name.to_owned()));
        }
    }
    show::setting(cursor).map(Statement::Reset)
}

fn prepare(cursor: &mut Cursor) -> Parsed<Statement> {
    if cursor.peeks("transaction") {
        return cursor.unsupported("two-phase commit");
    }
    let name = cursor.identifier()?;
    let types = match cursor.parser.peek_token_ref().token {
        Token::LParen => cursor.parenthesized(column_type)?,
        _ => vec![],
    };
    cursor.expect("as")?;
    if cursor.peeks("prepare") || cursor.peeks("explain") {
        return cursor.unexpected();
    }
    let (statement, text) = cursor.with_text(super::statement)?;
    Ok(Statement::Prepare(Prepare { name, types, statement: Box::new(statement), text }))
}

fn execute(cursor: &mut Cursor) -> Parsed<Statement> {
    let name = cursor.identifier()?;
    let parameters = match cursor.parser.peek_token_ref().token {
        Token::LParen => cursor.parenthesized(Cursor::expression)?,
        _ => vec![],
    };
    Ok(Statement::Execute { name, parameters })
}

fn declare(cursor: &mut Cursor) -> Parsed<Statement> {
    let name = cursor.identifier()?;
    let (mut binary, mut scroll) = (false, false);
    while let Some(word) = cursor.accept_one(&["binary", "insensitive", "asensitive", "no scroll", "scroll"]) {
        binary |= word == "binary";
        scroll |= word == "scroll";
    }
    if cursor.peeks("subscription cursor") {
        return cursor.unsupported("SUBSCRIPTION CURSOR");
    }
    cursor.expect("cursor")?;
    let hold = cursor.accept("with hold");
    cursor.accept("without hold");
    cursor.expect("for")?;
    let (source, text) = cursor.with_text(|cursor| match cursor.peeks("subscribe") {
        true => show::subscribe(cursor).map(CursorSource::Subscribe),
        false => cursor.query().map(CursorSource::Query),
    })?;
    Ok(Statement::Declare(Declare { name, binary, scroll, hold, source, text }))
}

fn fetch(cursor: &mut Cursor, skip: bool) -> Parsed<Statement> {
    let direction = fetch_direction(cursor)?;
    cursor.accept_one(&["from", "in"]);
    let name = cursor.identifier()?;
    Ok(Statement::Fetch(Fetch { skip, cursor: name, direction, options: options::with(cursor)? }))
}

fn fetch_direction(cursor: &mut Cursor) -> Parsed<FetchDirection> {
    // A cursor may be called like a direction: `FETCH next` fetches from the cursor `next`.
    let alone = matches!(cursor.parser.peek_nth_token_ref(1).token, Token::EOF | Token::SemiColon);
    if alone {
        return Ok(FetchDirection::Forward(1));
    }
    let words = ["next", "prior", "first", "last", "absolute", "relative", "all", "forward", "backward"];
    Ok(match cursor.accept_one(&words) {
        Some("prior") => FetchDirection::Prior,
        Some("first") => FetchDirection::First,
        Some("last") => FetchDirection::Last,
        Some("absolute") => FetchDirection::Absolute(integer(cursor)?),
        Some("relative") => FetchDirection::Relative(integer(cursor)?),
        Some("all") => FetchDirection::All,
        Some("forward") if cursor.accept("all") => FetchDirection::All,
        Some("forward") if is_integer(cursor) => FetchDirection::Forward(integer(cursor)?),
        Some("backward") if is_integer(cursor) => FetchDirection::Forward(-integer(cursor)?),
        Some("backward") if cursor.accept("all") => FetchDirection::BackwardAll,
        Some("backward") => FetchDirection::Prior,
        None if is_integer(cursor) => FetchDirection::Forward(integer(cursor)?),
        _ => FetchDirection::Forward(1),
    })
}

fn is_integer(cursor: &Cursor) -> bool {
    matches!(cursor.parser.peek_token_ref().token, Token::Number(..) | Token::Minus | Token::Plus)
}

fn integer(cursor: &mut Cursor) -> Parsed<i64> {
    let negative = cursor.accept_token(&Token::Minus);
    cursor.accept_token(&Token::Plus);
    let magnitude = i64::try_from(cursor.parser.parse_literal_uint()?).unwrap_or(i64::MAX);
    Ok(if negative { -magnitude } else { magnitude })
}

fn discard(cursor: &mut Cursor) -> Parsed<Statement> {
    let what = match cursor.accept_one(&["all", "plans", "sequences", "temporary", "temp"]) {
        Some("all") => Discard::All,
        Some("plans") => Discard::Plans,
        Some("sequences") => Discard::Sequences,
        Some(_) => Discard::Temporary,
        None => return cursor.unexpected(),
    };
    Ok(Statement::Discard(what))
}

fn truncate(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.accept("table");
    let tables = cursor.list(|cursor| {
        cursor.accept("only");
        cursor.name()
    })?;
    let restart = cursor.accept_one(&["restart identity", "continue identity"]) == Some("restart identity");
    Ok(Statement::Truncate(Truncate { tables, restart, cascade: create::cascade(cursor) }))
}

fn refresh(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("materialized view")?;
    let concurrently = cursor.accept("concurrently");
    let name = cursor.name()?;
    if cursor.peeks("with no data") {
        return cursor.unsupported("WITH NO DATA");
    }
    cursor.accept("with data");
    Ok(Statement::Refresh { name, concurrently })
}
