//! What 100 views on another table cost a tick that does not touch them: two servers, with and without, take turns, so
//! that whatever else the machine does falls on both alike.

use crate::bench::Bench;
use crate::latency::Inserter;
use crate::report::{Figure, Target, quantile};
use crate::server::Server;
use anyhow::Result;

const IDLE_VIEWS: usize = 100;
/// Which slowdown counts as none: less than a repetition of the same measurement differs by, in percent.
const NOISE: f64 = 5.0;

pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let (alone, crowded) = (Server::start(bench).await?, Server::start(bench).await?);
    define_idle_views(&crowded).await?;
    let mut inserters = [Inserter::start(&alone, "off").await?, Inserter::start(&crowded, "off").await?];
    let mut times = [vec![], vec![]];
    for _ in 0..bench.size(4_000, 1_000) {
        for (inserter, times) in inserters.iter_mut().zip(&mut times) {
            times.push(inserter.round().await?.0);
        }
    }
    let [without, with] = [quantile(&times[0], 0.5), quantile(&times[1], 0.5)];
    let name = "one-row INSERT beside idle views";
    Ok(vec![
        Figure::new(name, "p50 in us without any", without),
        Figure::new(name, format!("p50 in us with {IDLE_VIEWS}"), with),
        Figure::new(name, "% more", 100.0 * (with - without) / without).target(Target::AtMost(NOISE)),
    ])
}

async fn define_idle_views(server: &Server) -> Result<()> {
    let client = server.connect().await?;
    client.batch_execute("CREATE TABLE quiet (k bigint, v bigint); INSERT INTO quiet VALUES (1, 1)").await?;
    for view in 0..IDLE_VIEWS {
        let query = format!("SELECT k, count(*) AS n, sum(v) AS v FROM quiet WHERE v > {view} GROUP BY k");
        client.batch_execute(&format!("CREATE MATERIALIZED VIEW quiet_{view} AS {query}")).await?;
    }
    Ok(())
}
