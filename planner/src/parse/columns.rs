//! The column list of a table or source, with its constraints.

use super::cursor::Cursor;
use super::failure::Parsed;
use super::options::{self, METADATA, Options};
use super::{
    CheckDefinition, ColumnDefinition, Deferral, ForeignKeyDefinition, GeneratedColumn, KeyDefinition, LikeTable,
    ReferentialAction, WatermarkDefinition, fold, sequence, types,
};
use millrace_types::{SqlError, SqlState, SqlType};
use sqlparser::ast::Ident;
use sqlparser::tokenizer::Token;

/// Postgres's bound on the columns of a table.
const COLUMNS_MAX: usize = 1_600;

/// What stands in the parentheses after a relation's name.
#[derive(Default)]
pub struct Columns {
    pub columns: Vec<ColumnDefinition>,
    pub primary_key: Option<KeyDefinition>,
    pub unique: Vec<KeyDefinition>,
    pub checks: Vec<CheckDefinition>,
    pub foreign_keys: Vec<ForeignKeyDefinition>,
    pub like: Vec<LikeTable>,
    pub watermark: Option<WatermarkDefinition>,
    pub not_enforced: bool,
    /// `METADATA FROM 'what'` of columns, as the options `include.what`.
    pub metadata: Options,
}

/// The types of columns that are numbered.
const SERIAL: [(&str, SqlType); 6] = [
    ("serial", SqlType::Int4),
    ("serial4", SqlType::Int4),
    ("bigserial", SqlType::Int8),
    ("serial8", SqlType::Int8),
    ("smallserial", SqlType::Int2),
    ("serial2", SqlType::Int2),
];

/// A column or a constraint alone, as ALTER TABLE ... ADD has it.
pub fn element(cursor: &mut Cursor) -> Parsed<Columns> {
    if cursor.peeks("watermark for") {
        return cursor.unsupported("ALTER TABLE ... ADD WATERMARK");
    }
    let mut columns = Columns::default();
    columns.element(cursor)?;
    Ok(columns)
}

/// After GENERATED.
fn generated(cursor: &mut Cursor) -> Parsed<GeneratedColumn> {
    let always = cursor.accept("always as");
    if !always {
        cursor.expect("by default as")?;
    }
    if cursor.accept("identity") {
        let options = match cursor.accept_token(&Token::LParen) {
            false => Default::default(),
            true => {
                let options = sequence::options(cursor)?;
                cursor.expect_token(&Token::RParen)?;
                options
            }
        };
        return Ok(GeneratedColumn::Identity { always, options });
    }
    cursor.expect_token(&Token::LParen)?;
    let (_, expression) = cursor.with_text(Cursor::expression)?;
    cursor.expect_token(&Token::RParen)?;
    cursor.expect("stored")?;
    Ok(GeneratedColumn::Stored(expression))
}

/// `(column, ..., constraint, ...)`, possibly with nothing inside.
pub fn columns(cursor: &mut Cursor) -> Parsed<Columns> {
    let mut columns = Columns::default();
    cursor.expect_token(&Token::LParen)?;
    if cursor.accept_token(&Token::RParen) {
        return Ok(columns);
    }
    cursor.list(|cursor| columns.element(cursor))?;
    cursor.expect_token(&Token::RParen)?;
    if columns.columns.len() > COLUMNS_MAX {
        let message = format!("tables can have at most {COLUMNS_MAX} columns");
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message).into());
    }
    columns.check_names()?;
    Ok(columns)
}

impl Columns {
    fn element(&mut self, cursor: &mut Cursor) -> Parsed<()> {
        if cursor.peeks("watermark for") {
            return self.watermark(cursor);
        }
        if cursor.accept("like") {
            return self.like(cursor);
        }
        let name = self.constraint_name(cursor)?;
        match cursor.peek_word().as_deref() {
            Some("primary") if cursor.peeks("primary key") => {
                cursor.expect("primary key")?;
                let columns = cursor.parenthesized(Cursor::identifier)?;
                self.not_enforced |= cursor.accept("not enforced");
                self.set_primary_key(KeyDefinition { name, columns }, cursor)
            }
            Some("unique") => {
                cursor.expect("unique")?;
                if cursor.peeks("nulls not distinct") {
                    return cursor.unsupported("NULLS NOT DISTINCT");
                }
                let columns = cursor.parenthesized(Cursor::identifier)?;
                self.not_enforced |= cursor.accept("not enforced");
                self.unique.push(KeyDefinition { name, columns });
                Ok(())
            }
            Some("check") => self.check(cursor, name, None),
            Some("foreign") if cursor.peeks("foreign key") => {
                cursor.expect("foreign key")?;
                let columns = cursor.parenthesized(Cursor::identifier)?;
                self.references(cursor, name, columns)
            }
            Some("exclude") if name.is_some() => cursor.unsupported("EXCLUDE"),
            _ if name.is_some() => cursor.unexpected(),
            _ => self.column(cursor),
        }
    }

    fn constraint_name(&self, cursor: &mut Cursor) -> Parsed<Option<Ident>> {
        if cursor.accept("constraint") { cursor.identifier().map(Some) } else { Ok(None) }
    }

    /// `WATERMARK FOR column AS expression [WITH (...)]`
    fn watermark(&mut self, cursor: &mut Cursor) -> Parsed<()> {
        let position = cursor.position();
        cursor.expect("watermark for")?;
        if self.watermark.is_some() {
            let error = SqlError::new(SqlState::INVALID_TABLE_DEFINITION, "multiple watermarks for one relation");
            return Err(error.at(position + 1).into());
        }
        let column = cursor.identifier()?;
        cursor.expect("as")?;
        let (_, expression) = cursor.with_text(Cursor::expression)?;
        let options = options::with(cursor)?;
        self.watermark = Some(WatermarkDefinition { column, expression, options });
        Ok(())
    }

    /// After LIKE.
    fn like(&mut self, cursor: &mut Cursor) -> Parsed<()> {
        let (position, table) = (self.columns.len(), cursor.name()?);
        let mut like = LikeTable { position, table, defaults: false, constraints: false, indexes: false };
        while let Some(word) = cursor.accept_one(&["including", "excluding"]) {
            let wanted = word == "including";
            let what = [
                "all",
                "defaults",
                "constraints",
                "indexes",
                "comments",
                "generated",
                "identity",
                "statistics",
                "storage",
            ];
            match cursor.accept_one(&what) {
                Some("all") => (like.defaults, like.constraints, like.indexes) = (wanted, wanted, wanted),
                Some("defaults") => like.defaults = wanted,
                Some("constraints") => like.constraints = wanted,
                Some("indexes") => like.indexes = wanted,
                Some(_) => {}
                None => return cursor.unexpected(),
            }
        }
        self.like.push(like);
        Ok(())
    }

    fn set_primary_key(&mut self, key: KeyDefinition, cursor: &Cursor) -> Parsed<()> {
        if self.primary_key.is_some() {
            let error = SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                "multiple primary keys for one table are not allowed",
            );
            return Err(error.at(cursor.position()).into());
        }
        self.primary_key = Some(key);
        Ok(())
    }

    fn check(&mut self, cursor: &mut Cursor, name: Option<Ident>, column: Option<Ident>) -> Parsed<()> {
        cursor.expect("check")?;
        cursor.expect_token(&Token::LParen)?;
        let (_, expression) = cursor.with_text(Cursor::expression)?;
        cursor.expect_token(&Token::RParen)?;
        self.checks.push(CheckDefinition { name, column, expression });
        Ok(())
    }

    /// `REFERENCES table [(columns)] [ON DELETE action] [ON UPDATE action]`
    fn references(&mut self, cursor: &mut Cursor, name: Option<Ident>, columns: Vec<Ident>) -> Parsed<()> {
        cursor.expect("references")?;
        let (table, referred) = (cursor.name()?, cursor.column_list()?);
        let [mut on_delete, mut on_update] = [ReferentialAction::NoAction; 2];
        let mut deferral = Deferral::Never;
        let clauses = [
            "match simple",
            "on delete",
            "on update",
            "not deferrable",
            "deferrable",
            "initially immediate",
            "initially deferred",
            "not valid",
        ];
        loop {
            if cursor.peeks("match") && !cursor.peeks("match simple") {
                return cursor.unsupported("MATCH FULL");
            }
            match cursor.accept_one(&clauses) {
                Some("on delete") => on_delete = referential_action(cursor)?,
                Some("on update") => on_update = referential_action(cursor)?,
                Some("deferrable") if deferral == Deferral::Never => deferral = Deferral::Immediate,
                Some("initially deferred") => deferral = Deferral::Deferred,
                Some(_) => {}
                None => break,
            }
        }
        self.foreign_keys.push(ForeignKeyDefinition { name, columns, table, referred, on_delete, on_update, deferral });
        Ok(())
    }

    fn column(&mut self, cursor: &mut Cursor) -> Parsed<()> {
        let name = cursor.identifier()?;
        let serial = SERIAL.iter().find(|(words, _)| cursor.accept(words)).map(|(_, sql_type)| sql_type.clone());
        let generated = serial.as_ref().map(|_| GeneratedColumn::Serial);
        let not_null = serial.is_some();
        let sql_type = match serial {
            Some(sql_type) => sql_type,
            None if cursor.peeks("as") => SqlType::Timestamptz,
            None => column_type(cursor)?,
        };
        let mut column =
            ColumnDefinition { name, sql_type, not_null, default: None, primary_key: false, unique: false, generated };
        while self.constraint(cursor, &mut column)? {}
        self.columns.push(column);
        Ok(())
    }

    /// One constraint of a column; false when none comes next.
    fn constraint(&mut self, cursor: &mut Cursor, column: &mut ColumnDefinition) -> Parsed<bool> {
        let name = self.constraint_name(cursor)?;
        let words = [
            "not null",
            "null",
            "default",
            "primary key",
            "unique",
            "not enforced",
            "collate",
            "generated",
            "references",
            "metadata",
            "storage",
            "as",
        ];
        if cursor.peeks("check") {
            self.check(cursor, name, Some(column.name.clone()))?;
            return Ok(true);
        }
        let Some(words) = words.into_iter().find(|words| cursor.peeks(words)) else {
            return if name.is_some() { cursor.unexpected() } else { Ok(false) };
        };
        match words {
            "generated" => {
                cursor.expect("generated")?;
                let generated = generated(cursor)?;
                match is_processing_time(&generated) {
                    true => arrival(column),
                    false => column.generated = Some(generated),
                }
                column.not_null |= matches!(column.generated, Some(GeneratedColumn::Identity { .. }));
                return Ok(true);
            }
            "references" => {
                self.references(cursor, name, vec![column.name.clone()])?;
                return Ok(true);
            }
            "metadata" => {
                let what = metadata(cursor, column)?;
                options::add(&mut self.metadata, format!("include.{what}"), fold(&column.name))?;
                return Ok(true);
            }
            "as" => {
                computed(cursor, column)?;
                return Ok(true);
            }
            words => cursor.expect(words)?,
        }
        self.apply(words, name, cursor, column)?;
        Ok(true)
    }

    fn apply(
        &mut self,
        words: &str,
        name: Option<Ident>,
        cursor: &mut Cursor,
        column: &mut ColumnDefinition,
    ) -> Parsed<()> {
        match words {
            "not null" => column.not_null = true,
            "primary key" => {
                (column.primary_key, column.not_null) = (true, true);
                self.set_primary_key(KeyDefinition { name, columns: vec![column.name.clone()] }, cursor)?;
            }
            "unique" => {
                column.unique = true;
                self.unique.push(KeyDefinition { name, columns: vec![column.name.clone()] });
            }
            "not enforced" => self.not_enforced = true,
            "default" => column.default = Some(default(cursor)?),
            "collate" => drop(cursor.name()?),
            "storage" => drop(cursor.identifier()?),
            _ => {}
        }
        Ok(())
    }

    /// Every name once, and keys over columns that are there; keys make their columns NOT NULL.
    fn check_names(&mut self) -> Parsed<()> {
        let names: Vec<_> = self.columns.iter().map(|column| fold(&column.name)).collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                let message = format!("column \"{name}\" specified more than once");
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).into());
            }
        }
        // The columns of a source may come from outside, and others from LIKE.
        if names.is_empty() || !self.like.is_empty() {
            return Ok(());
        }
        for key in self.unique.iter().chain(&self.primary_key).flat_map(|key| &key.columns) {
            if !names.contains(&fold(key)) {
                let message = format!("column \"{}\" named in key does not exist", fold(key));
                return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message).at(position(key)).into());
            }
        }
        let key: Vec<_> = self.primary_key.iter().flat_map(|key| &key.columns).map(fold).collect();
        for column in self.columns.iter_mut().filter(|column| key.contains(&fold(&column.name))) {
            (column.primary_key, column.not_null) = (key.len() == 1, true);
        }
        Ok(())
    }
}

/// `AS PROCTIME()`, the only expression that needs no more words.
fn computed(cursor: &mut Cursor, column: &mut ColumnDefinition) -> Parsed<()> {
    cursor.expect("as")?;
    let (_, expression) = cursor.with_text(Cursor::expression)?;
    match is_processing_time(&GeneratedColumn::Stored(expression)) {
        true => {
            arrival(column);
            Ok(())
        }
        false => Err(SqlError::unsupported("a column AS an expression other than PROCTIME()")
            .with_hint("Write its type and GENERATED ALWAYS AS (expression) STORED.")
            .into()),
    }
}

fn is_processing_time(generated: &GeneratedColumn) -> bool {
    let GeneratedColumn::Stored(expression) = generated else { return false };
    let text: String = expression.chars().filter(|sign| !sign.is_whitespace()).collect();
    text.trim_start_matches('(').trim_end_matches(')').eq_ignore_ascii_case("proctime(")
}

/// The value of a column is when its row came in: its default, and nothing else.
fn arrival(column: &mut ColumnDefinition) {
    (column.default, column.generated) = (Some("proctime()".to_owned()), Some(GeneratedColumn::Arrival));
}

/// `METADATA [FROM 'what'] [VIRTUAL]`; the column's name says what where nothing else does.
fn metadata(cursor: &mut Cursor, column: &ColumnDefinition) -> Parsed<String> {
    cursor.expect("metadata")?;
    let what = if cursor.accept("from") { cursor.string()? } else { fold(&column.name) };
    cursor.accept("virtual");
    match METADATA.contains(&what.as_str()) {
        true => Ok(what),
        false => {
            let message = format!("there is no metadata \"{what}\"");
            let hint = format!("It is one of {}.", METADATA.join(", "));
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(hint).into())
        }
    }
}

/// After ON DELETE or ON UPDATE.
fn referential_action(cursor: &mut Cursor) -> Parsed<ReferentialAction> {
    Ok(match cursor.accept_one(&["no action", "restrict", "cascade", "set null", "set default"]) {
        Some("no action") => ReferentialAction::NoAction,
        Some("restrict") => ReferentialAction::Restrict,
        Some("cascade") => ReferentialAction::Cascade,
        Some("set null") => ReferentialAction::SetNull,
        Some(_) => return cursor.unsupported("SET DEFAULT of a foreign key"),
        None => return cursor.unexpected(),
    })
}

/// The character at which an identifier starts, counted from 1.
fn position(ident: &Ident) -> usize {
    ident.span.start.column as usize
}

/// A type, with its place on errors. Types whose names sqlparser has no modifiers for stay `Custom`.
pub fn column_type(cursor: &mut Cursor) -> Parsed<SqlType> {
    let position = cursor.position();
    let data_type = cursor.parser.parse_data_type()?;
    Ok(types::sql_type(&data_type).map_err(|error| error.at(position + 1))?)
}

/// The text of a DEFAULT expression: of higher precedence than what may follow it, as `NOT NULL`.
pub fn default(cursor: &mut Cursor) -> Parsed<String> {
    const ABOVE_IS: u8 = 40;
    let (_, text) = cursor.with_text(|cursor| Ok(cursor.parser.parse_subexpr(ABOVE_IS)?))?;
    Ok(text)
}
