//! Queries into dataflow plans, by golden file.

use super::{job, lower};
use crate::bind::bind_view;
use crate::parse::parse_query;
use crate::testing::{catalog, functions, golden, show};
use millrace_types::RelationId;

#[test]
fn queries_become_dataflow_plans() {
    let catalog = catalog();
    golden("lower.txt", |sql| {
        let planned =
            parse_query(sql).and_then(|query| bind_view(&query, &[], &catalog, functions())).and_then(|bound| {
                let node = lower(&bound, functions())?;
                assert_eq!(node.schema, bound.schema);
                Ok(job(RelationId(1), "v", node))
            });
        match planned {
            Ok(job) => job.plan.to_string(),
            Err(error) => show(&error),
        }
    });
}

#[test]
fn explaining_shows_both_plans() {
    let query = parse_query("SELECT channel, count(*) FROM bids GROUP BY channel").expect("it parses");
    let bound = bind_view(&query, &[], &catalog(), functions()).expect("it binds");
    let text = super::explain(&bound, functions(), super::Emission::Changes).expect("it explains");
    assert!(text.starts_with("Logical plan\nProjection: bids.channel"), "{text}");
    assert!(text.contains("Dataflow plan\nProject channel@0"), "{text}");
}
