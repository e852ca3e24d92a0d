//! Whether the database holds what it must: the tables as the model, the views as what Rust makes of the model, and every
//! view as its query.

use crate::life::Knowledge;
use crate::model::Model;
use crate::outside::{OF_SOURCE, Outside};
use crate::statements::{FIXED, QUERIES, RECENT};
use anyhow::{Context, Result, ensure};
use millrace_sqllogictest::difference;
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Compares everything. What was under way when the last life ended is there as a whole, or not at all.
pub(crate) async fn check(client: &Client, knowledge: &Knowledge) -> Result<()> {
    let mut found = read(client).await?;
    let known = knowledge.update(|left| {
        let with = left.known.after(&left.under_way);
        found.lines = with.lines.clone();
        // The clock stands beside the disk: it may have gone on before anything else could.
        found.minute = found.minute.clamp(left.known.minute, with.minute);
        let settled = if found == with { with } else { Model { minute: found.minute, ..left.known.clone() } };
        let problem = (found != settled).then(|| differences(&settled, &found, &left.under_way));
        left.under_way.clear();
        left.known = settled.clone();
        problem.map_or(Ok(settled), |problem| Err(anyhow::anyhow!(problem)))
    })?;
    check_views(client, &known, knowledge.outside()).await
}

fn differences(known: &Model, found: &Model, under_way: &[crate::model::Effect]) -> String {
    format!("the tables hold\n  {found:?}\nand should hold\n  {known:?}\nwith or without\n  {under_way:?}")
}

/// Compares the views that are there with the model and with their queries, and what sinks have written with the model.
pub(crate) async fn check_views(client: &Client, known: &Model, outside: Option<&Outside>) -> Result<()> {
    let total: i64 = known.accounts.values().sum();
    expect(client, "SELECT total FROM total", vec![vec![total]]).await?;
    let groups = known.groups();
    let largest = groups.iter().map(|group| group[1]).max();
    let most = largest.map(|most| vec![groups.len() as i64, most]).into_iter().collect();
    expect(client, "SELECT grp, n, total, most FROM groups ORDER BY grp", groups).await?;
    expect(client, "SELECT groups, largest FROM overview WHERE groups > 0", most).await?;
    let mut streams = BTreeMap::<i64, i64>::new();
    known.events.iter().for_each(|(stream, _)| *streams.entry(*stream).or_default() += 1);
    let streams = streams.into_iter().map(|(stream, events)| vec![stream, events, events]).collect();
    expect(client, "SELECT stream, n, last FROM streams ORDER BY stream", streams).await?;
    let recent = known.moments.iter().filter(|(_, minute)| **minute > known.minute - RECENT);
    expect(client, "SELECT id FROM recent ORDER BY id", recent.map(|(moment, _)| vec![*moment]).collect()).await?;
    if let Some(lines) = &known.lines {
        check_lines(client, known, lines).await?;
    }
    if let Some(outside) = outside {
        outside.check(known).await?;
    }
    let fixed = FIXED.iter().map(|(view, query)| (view.to_string(), *query));
    let changing = known.views.iter().map(|(view, query)| (view.clone(), QUERIES[*query]));
    for (view, query) in fixed.chain(changing) {
        let differing =
            client.query(&difference(&view, query), &[]).await.with_context(|| format!("reading {view}"))?;
        ensure!(differing.is_empty(), "{} rows of {view} differ from its query", differing.len());
    }
    Ok(())
}

/// Compares the views of the source with the lines of its files, each of which counts once.
async fn check_lines(client: &Client, known: &Model, lines: &BTreeMap<i64, i64>) -> Result<()> {
    client.batch_execute("FLUSH").await?;
    let fed = lines.iter().map(|(file, lines)| vec![*file, *lines, lines * (lines + 1) / 2, *lines]).collect();
    expect(client, "SELECT file, n, total, lines FROM fed ORDER BY file", fed).await?;
    let tail = lines.iter().map(|(file, lines)| vec![*file, *lines]).collect();
    expect(client, "SELECT file, n FROM tail ORDER BY file", tail).await?;
    let of_item = |item: i64| lines.values().map(|lines| (1..=*lines).filter(|n| n % 24 == item).count() as i64).sum();
    let bought = known.items.keys().map(|item| vec![*item, of_item(*item)]).filter(|row| row[1] > 0).collect();
    expect(client, "SELECT id, n FROM bought ORDER BY id", bought).await
}

async fn expect(client: &Client, query: &str, wanted: Vec<Vec<i64>>) -> Result<()> {
    let found = numbers(client, query).await?;
    ensure!(found == wanted, "{query} gives {found:?} and should give {wanted:?}");
    Ok(())
}

/// The rows of a query for numbers.
pub(crate) async fn numbers(client: &Client, query: &str) -> Result<Vec<Vec<i64>>> {
    let messages = client.simple_query(query).await.with_context(|| query.to_owned())?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| Ok(row.get(at).unwrap_or("").parse()?)).collect()),
        _ => None,
    });
    rows.collect::<Result<Vec<_>>>().with_context(|| format!("the numbers of {query}"))
}

/// What the tables hold.
async fn read(client: &Client) -> Result<Model> {
    let [accounts, items, events, moments, counter, clock] = [
        "SELECT id, balance FROM accounts",
        "SELECT id, grp, amount FROM items",
        "SELECT stream, number FROM events",
        "SELECT id, minute FROM moments",
        "SELECT n FROM counter",
        "SELECT (extract(epoch FROM now() - timestamptz '2000-01-01 00:00:00+00') / 60)::bigint",
    ];
    let (accounts, items) = (numbers(client, accounts).await?, numbers(client, items).await?);
    let (events, moments) = (numbers(client, events).await?, numbers(client, moments).await?);
    let (counter, clock) = (numbers(client, counter).await?, numbers(client, clock).await?);
    let duplicates = accounts.len() + items.len() + events.len() + moments.len();
    let model = Model {
        accounts: accounts.into_iter().map(|row| (row[0], row[1])).collect(),
        items: items.into_iter().map(|row| (row[0], (row[1], row[2]))).collect(),
        events: events.into_iter().map(|row| (row[0], row[1])).collect(),
        moments: moments.into_iter().map(|row| (row[0], row[1])).collect(),
        counter: counter.first().map_or(0, |row| row[0]),
        views: views(client).await?,
        minute: clock.first().map_or(0, |row| row[0]),
        lines: None,
    };
    let rows = model.accounts.len() + model.items.len() + model.events.len() + model.moments.len();
    ensure!(rows == duplicates && counter.len() == 1, "a row is there twice, or the counter's is missing");
    Ok(model)
}

/// The views that come and go, with their queries.
async fn views(client: &Client) -> Result<BTreeMap<String, usize>> {
    let fixed: BTreeSet<_> = FIXED.iter().map(|(view, _)| *view).collect();
    let rows = client.query("SELECT matviewname::text, definition::text FROM pg_matviews", &[]).await?;
    let mut views = BTreeMap::new();
    for row in rows {
        let (name, definition): (String, String) = (row.get(0), row.get(1));
        if !fixed.contains(&name[..]) && !OF_SOURCE.contains(&&name[..]) {
            let query = QUERIES.iter().position(|query| definition.trim_end_matches(';').ends_with(query));
            views.insert(name, query.with_context(|| format!("a view nobody made: {definition}"))?);
        }
    }
    Ok(views)
}
