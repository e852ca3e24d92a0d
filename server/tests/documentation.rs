//! Runs the examples of the documentation: the blocks of each page in order, over a server of the page's own.
//!
//! A block marked `sql` holds statements that succeed. A block marked `sql error` begins with a comment that is an
//! SQLSTATE; its last statement fails with it, and those before succeed. A statement ends with the line that ends in a
//! semicolon. After `COPY ... FROM STDIN` come lines of data, up to a line `\.`.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use millrace_sqllogictest::Server;
use std::path::{Path, PathBuf};
use tokio_postgres::{Client, NoTls};

/// The statements between two fences.
#[derive(Debug, PartialEq)]
struct Block {
    /// How the last statement fails, if it is to fail.
    fails_with: Option<String>,
    statements: Vec<Statement>,
}

#[derive(Debug, PartialEq)]
struct Statement {
    /// Where it begins, counted from 1.
    line: usize,
    sql: String,
    /// What a COPY reads from the client.
    data: Option<String>,
}

fn pages() -> Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pattern = root.join("docs/sql/*.md");
    let mut pages = glob::glob(&pattern.to_string_lossy())?.collect::<Result<Vec<_>, _>>()?;
    ensure!(!pages.is_empty(), "there are no pages at {}", pattern.display());
    pages.push(root.join("README.md"));
    Ok(pages)
}

type Lines<'a> = dyn Iterator<Item = (usize, &'a str)> + 'a;

/// The blocks of a page.
fn blocks(page: &str) -> Result<Vec<Block>> {
    let mut lines = page.lines().enumerate().map(|(index, line)| (index + 1, line));
    let mut blocks = vec![];
    while let Some((line, text)) = lines.next() {
        match text {
            "```sql" => blocks.push(Block { fails_with: None, statements: statements(&mut lines)? }),
            "```sql error" => {
                let state = lines.next().and_then(|(_, text)| text.strip_prefix("-- "));
                let state =
                    state.filter(|state| state.len() == 5).with_context(|| format!("line {line}: no SQLSTATE"))?;
                blocks.push(Block { fails_with: Some(state.to_owned()), statements: statements(&mut lines)? });
            }
            text if text.starts_with("```") => {
                lines.find(|(_, text)| *text == "```").with_context(|| format!("line {line}: an open block"))?;
            }
            _ => {}
        }
    }
    Ok(blocks)
}

/// The statements up to the end of a block.
fn statements(lines: &mut Lines<'_>) -> Result<Vec<Statement>> {
    let (mut all, mut open) = (vec![], None::<Statement>);
    loop {
        let Some((line, text)) = lines.next() else { bail!("the last block is open") };
        if text == "```" {
            break;
        }
        let text = without_comment(text);
        if text.is_empty() {
            continue;
        }
        let statement = open.get_or_insert_with(|| Statement { line, sql: String::new(), data: None });
        statement.sql.push_str(text);
        statement.sql.push('\n');
        if text.ends_with(';') {
            statement.data = reads_data(&statement.sql).then(|| data(lines));
            all.extend(open.take());
        }
    }
    match open {
        Some(open) => bail!("line {}: a statement without a semicolon", open.line),
        None => Ok(all),
    }
}

fn without_comment(line: &str) -> &str {
    let outside_of_quotes = |place: &usize| line[..*place].matches('\'').count().is_multiple_of(2);
    let comment = line.match_indices("--").map(|(place, _)| place).find(outside_of_quotes);
    line[..comment.unwrap_or(line.len())].trim_end()
}

fn reads_data(sql: &str) -> bool {
    sql.starts_with("COPY") && sql.contains("FROM STDIN")
}

fn data(lines: &mut Lines<'_>) -> String {
    lines.map(|(_, text)| text).take_while(|text| *text != "\\.").flat_map(|text| [text, "\n"]).collect()
}

async fn run(client: &Client, statement: &Statement) -> Result<(), tokio_postgres::Error> {
    let sql = statement.sql.trim_end();
    if let Some(data) = &statement.data {
        let mut sink = Box::pin(client.copy_in::<_, Bytes>(sql).await?);
        sink.send(Bytes::from(data.clone())).await?;
        return sink.as_mut().finish().await.map(|_| ());
    }
    if sql.starts_with("COPY") {
        return client.copy_out(sql).await?.try_collect::<Vec<Bytes>>().await.map(|_| ());
    }
    client.batch_execute(sql).await
}

/// Runs a block and tells every statement that went otherwise than the page says.
async fn check(client: &Client, block: &Block, failures: &mut Vec<String>) {
    for (number, statement) in block.statements.iter().enumerate() {
        let wanted = block.fails_with.as_deref().filter(|_| number + 1 == block.statements.len());
        let error = run(client, statement).await.err();
        let state = error.as_ref().map(|error| error.code().map_or("no SQLSTATE", |state| state.code()));
        if state != wanted {
            let Statement { line, sql, .. } = statement;
            let (wanted, state) = (wanted.unwrap_or("success"), state.unwrap_or("success"));
            let message = error.as_ref().and_then(|error| error.as_db_error()).map_or("", |error| error.message());
            failures.push(format!("line {line}: expected {wanted}, got {state} {message}\n{sql}"));
        }
    }
}

async fn check_page(page: &Path, failures: &mut Vec<String>) -> Result<usize> {
    let blocks = blocks(&std::fs::read_to_string(page)?)?;
    let server = Server::start(Path::new(env!("CARGO_BIN_EXE_millrace")))?;
    let address = server.address();
    let config = format!("host={} port={} user=reader dbname=millrace", address.ip(), address.port());
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
    let connection = tokio::spawn(connection);
    for block in &blocks {
        check(&client, block, failures).await;
    }
    drop(client);
    connection.await??;
    Ok(blocks.len())
}

#[tokio::test]
async fn every_example_does_what_its_page_says() -> Result<()> {
    let (mut failures, mut count) = (vec![], 0);
    for page in pages()? {
        let mut found = vec![];
        let checked = check_page(&page, &mut found).await;
        count += checked.with_context(|| page.display().to_string())?;
        failures.extend(found.into_iter().map(|failure| format!("{}, {failure}", page.display())));
    }
    ensure!(count > 0, "the pages have no examples");
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn blocks_are_taken_apart() {
    let page = "text\n```sql\nSELECT 1, -- one\n  '--';\nCOPY t FROM STDIN;\n1\t2\n\\.\n```\n```\nnot; sql\n```\n\
                ```sql error\n-- 42P01\nSELECT x;\n```\n";
    let statement =
        |line, sql: &str, data: Option<&str>| Statement { line, sql: sql.to_owned(), data: data.map(str::to_owned) };
    let expected = [
        Block {
            fails_with: None,
            statements: vec![
                statement(3, "SELECT 1,\n  '--';\n", None),
                statement(5, "COPY t FROM STDIN;\n", Some("1\t2\n")),
            ],
        },
        Block { fails_with: Some("42P01".to_owned()), statements: vec![statement(14, "SELECT x;\n", None)] },
    ];
    assert_eq!(blocks(page).unwrap(), expected);
}

#[test]
fn pages_that_cannot_be_run_are_told() {
    assert!(blocks("```sql\nSELECT 1\n```\n").is_err(), "no semicolon");
    assert!(blocks("```sql\nSELECT 1;\n").is_err(), "no end");
    assert!(blocks("```sql error\nSELECT 1;\n```\n").is_err(), "no SQLSTATE");
}
