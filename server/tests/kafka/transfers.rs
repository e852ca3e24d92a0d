//! Internal consistency: transfers come in two halves, over two topics and in disorder, and no state that anybody reads
//! or that goes out shows money that is not there.

use crate::cluster::{Out, Server, create_topic, read_all, rows, run, servers, wait_for, wait_until};
use std::collections::BTreeMap;

const TRANSFERS: u64 = 6000;

#[tokio::test]
async fn no_money_comes_or_goes() {
    for (topic, partitions) in [("debits", 3), ("credits", 2), ("balances", 1)] {
        create_topic(topic, partitions).await;
    }
    let server = Server::start();
    let client = server.client().await;
    let of = |topic: &str| {
        format!("WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{}'", servers())
    };
    run(
        &client,
        &[
            &format!("CREATE SOURCE debits (id bigint, account int, amount bigint) {})", of("debits")),
            &format!("CREATE SOURCE credits (id bigint, account int, amount bigint) {})", of("credits")),
            "CREATE MATERIALIZED VIEW transfers AS SELECT d.account AS payer, c.account AS payee, d.amount \
             FROM debits d JOIN credits c ON c.id = d.id",
            "CREATE MATERIALIZED VIEW paid AS SELECT payer AS account, sum(amount) AS amount FROM transfers GROUP BY 1",
            "CREATE MATERIALIZED VIEW got AS SELECT payee AS account, sum(amount) AS amount FROM transfers GROUP BY 1",
            "CREATE MATERIALIZED VIEW balances AS SELECT account, coalesce(got.amount, 0) - coalesce(paid.amount, 0) AS b \
             FROM got FULL JOIN paid USING (account)",
            "CREATE MATERIALIZED VIEW total AS SELECT sum(b) AS b, count(*) AS n FROM balances",
            &format!(
                "CREATE SINK balances_out FROM balances {}, key = 'account', delivery = 'exactly_once', \
                 commit.interval.ms = '10') FORMAT UPSERT ENCODE JSON",
                of("balances")
            ),
        ],
    )
    .await;
    let sender = std::thread::spawn(|| {
        let out = Out::new();
        let half = |topic: &str, partitions: u64, id: u64, account: u64| {
            let value = format!(r#"{{"id":{id},"account":{account},"amount":{}}}"#, 1 + id % 100);
            out.send(topic, (id % partitions) as i32, None, Some(value.as_bytes()));
        };
        for block in (0..TRANSFERS).step_by(200) {
            // The other halves come in another order, some of them much later.
            (block..block + 200).for_each(|id| half("debits", 3, id, id % 10));
            let late = |id: u64| (id * 7919) % TRANSFERS;
            (block..block + 200).for_each(|id| half("credits", 2, late(id), late(id) * 3 % 10));
            out.flush();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let mut reads = 0;
    while !sender.is_finished() {
        let found = rows(&client, "SELECT coalesce(b, 0) FROM total").await;
        assert_eq!(found, ["0"], "after {reads} reads");
        let found = rows(&client, "SELECT coalesce(sum(b), 0) FROM balances").await;
        assert_eq!(found, ["0"], "after {reads} reads");
        reads += 1;
    }
    sender.join().unwrap();
    assert!(reads > 5, "{reads}");
    wait_for(&client, "SELECT count(*) FROM transfers", &[&TRANSFERS.to_string()]).await;
    let last = rows(&client, "SELECT account, b FROM balances ORDER BY 1").await;
    let outcome = |records: &[crate::cluster::Seen]| {
        let mut balances = BTreeMap::new();
        for record in records {
            let number = |text: &str| -> i64 {
                text.rsplit(':').next().unwrap().trim_matches(|c| matches!(c, '"' | '}')).parse().unwrap()
            };
            let key = number(record.key.as_ref().unwrap());
            match &record.value {
                Some(value) => drop(balances.insert(key, number(value))),
                None => drop(balances.remove(&key)),
            }
        }
        balances
    };
    let lines = |balances: BTreeMap<i64, i64>| balances.iter().map(|(key, b)| format!("{key}|{b}")).collect::<Vec<_>>();
    wait_until("the last balances", || lines(outcome(&read_all("balances"))) == last).await;
    // The mark of a commit takes an offset of its own: records without a gap between them are one transaction.
    let records = read_all("balances");
    let ends = (1..records.len()).filter(|at| records[*at].offset != records[at - 1].offset + 1);
    let mut transactions = 0;
    for end in ends.chain([records.len()]) {
        assert_eq!(outcome(&records[..end]).values().sum::<i64>(), 0, "before offset {end}");
        transactions += 1;
    }
    assert!(transactions > 3, "{transactions}");
}
