//! SQL's keywords, as `pg_get_keywords()` lists them and as quoting needs them.

use super::rows::Rows;

/// The categories of keywords in `keywords.txt`, with what Postgres says of them.
const CATEGORIES: &[(&str, &str)] = &[
    ("U", "unreserved"),
    ("C", "unreserved (cannot be function or type name)"),
    ("T", "reserved (can be function or type name)"),
    ("R", "reserved"),
];

fn keywords() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("keywords.txt")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(category, _)| *category != "#")
        .flat_map(|(category, words)| words.split(' ').map(move |word| (category, word)))
}

/// Whether a name is a keyword that only quotes make a name.
pub fn needs_quotes(name: &str) -> bool {
    keywords().any(|(category, word)| word == name && category != "U")
}

/// `pg_get_keywords()`.
pub fn fill(rows: &mut Rows) {
    for (category, word) in keywords() {
        let description = CATEGORIES.iter().find(|(code, _)| *code == category).map(|(_, description)| *description);
        rows.push([("word", word.into()), ("catcode", category.into()), ("catdesc", description.into())]);
    }
}
