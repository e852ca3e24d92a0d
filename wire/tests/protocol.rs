//! The protocol byte by byte, over a real socket: what well-behaved clients send, and what no client should.

mod raw;
mod toy;

use millrace_wire::Settings;
use raw::{Client, connect, startup};
use std::sync::atomic::Ordering;
use std::time::Duration;
use toy::Server;

#[tokio::test]
async fn a_login_is_greeted() {
    let server = Server::start().await;
    let mut client = connect(&server).await;
    client.send_raw(&startup(3 << 16, &[("user", "me"), ("application_name", "test")])).await;
    assert_eq!(client.receive().await, (b'R', vec![0; 4]));
    let mut parameters = Vec::new();
    let (kind, key) = loop {
        match client.receive().await {
            (b'S', body) => parameters.push(String::from_utf8(body).unwrap()),
            other => break other,
        }
    };
    for expected in [
        "server_version\x0015.0\0",
        "server_encoding\0UTF8\0",
        "client_encoding\0UTF8\0",
        "DateStyle\0ISO, MDY\0",
        "IntervalStyle\0postgres\0",
        "TimeZone\0Europe/Berlin\0",
        "integer_datetimes\0on\0",
        "standard_conforming_strings\0on\0",
        "is_superuser\0on\0",
        "session_authorization\0me\0",
        "application_name\0test\0",
        "in_hot_standby\0off\0",
        "default_transaction_read_only\0off\0",
    ] {
        assert!(parameters.iter().any(|p| p == expected), "{expected:?} in {parameters:?}");
    }
    assert_eq!((kind, key.len()), (b'K', 8));
    assert_eq!(client.receive().await, (b'Z', b"I".to_vec()));
}

#[tokio::test]
async fn random_bytes_close_the_connection() {
    let server = Server::start().await;
    let mut seed = 7u64;
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..16 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            bytes.push((seed >> 33) as u8);
        }
        // A length that is believable would make the server wait for the rest of the packet.
        bytes[0] |= 1;
        let mut client = connect(&server).await;
        client.send_raw(&bytes).await;
        client.is_closed_within(Duration::from_secs(2)).await;
    }
    Client::login(&server).await.query("rows 1").await;
}

#[tokio::test]
async fn lengths_of_startup_packets_are_checked_first() {
    let server = Server::start().await;
    for length in [0u32, 3, 7, 10_001, 0x7fff_ffff, 0xffff_ffff, 0x8000_0000] {
        let mut client = connect(&server).await;
        client.send_raw(&length.to_be_bytes()).await;
        client.is_closed_within(Duration::from_secs(2)).await;
    }
    // TLS at once, without asking.
    let mut client = connect(&server).await;
    client.send_raw(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await;
    client.is_closed_within(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn malformed_startup_packets_are_fatal() {
    let server = Server::start().await;
    let version = (3u32 << 16).to_be_bytes();
    for (body, state) in [
        (&b"user\0me"[..], "08P01"),
        (b"user\0me\0database\0\0", "08P01"),
        (b"database\0x\0\0", "28000"),
        (b"user\0me\0client_encoding\0LATIN1\0\0", "22023"),
        (b"user\0\xff\0\0", "22021"),
        (b"user\0me\0database\0missing\0\0", "3D000"),
        (b"user\0me\0replication\0database\0\0", "0A000"),
    ] {
        let mut client = connect(&server).await;
        let length = (8 + body.len() as u32).to_be_bytes();
        client.send_raw(&[&length[..], &version, body].concat()).await;
        let error = client.error().await;
        assert_eq!((error.severity.as_str(), error.state.as_str()), ("FATAL", state), "{body:?}");
        client.is_closed_within(Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn other_protocol_versions() {
    let server = Server::start().await;
    for version in [2 << 16, 4 << 16, 1 << 16] {
        let mut client = connect(&server).await;
        client.send_raw(&startup(version, &[("user", "me")])).await;
        let error = client.error().await;
        assert_eq!((error.severity.as_str(), error.state.as_str()), ("FATAL", "0A000"));
    }
    for (version, options) in [((3 << 16) + 2, vec![]), (3 << 16, vec![("_pq_.future", "1")])] {
        let mut client = connect(&server).await;
        client.send_raw(&startup(version, &[&[("user", "me")], &options[..]].concat())).await;
        let (kind, body) = client.receive().await;
        assert_eq!(kind, b'v');
        assert_eq!(body[..4], (3u32 << 16).to_be_bytes());
        assert_eq!(body[4..8], (options.len() as u32).to_be_bytes());
        client.ready().await;
    }
}

#[tokio::test]
async fn encryption_is_declined() {
    let server = Server::start().await;
    let (ssl, gss) = ([0, 0, 0, 8, 4, 210, 22, 47], [0, 0, 0, 8, 4, 210, 22, 48]);
    let mut client = connect(&server).await;
    for request in [ssl, gss, ssl] {
        client.send_raw(&request).await;
        assert_eq!(client.receive_byte().await, b'N');
    }
    client.send_raw(&startup(3 << 16, &[("user", "me")])).await;
    client.ready().await;

    let mut smuggler = connect(&server).await;
    smuggler.send_raw(&[&ssl[..], &startup(3 << 16, &[("user", "me")])].concat()).await;
    smuggler.is_closed_within(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn lengths_and_kinds_of_messages_are_checked() {
    let server = Server::start().await;
    for (kind, length) in
        [(b'Q', 0u32), (b'Q', 3), (b'Q', 0xffff_ffff), (b'Q', 0x4000_0001), (b'Q', (64 << 20) + 1), (b'S', 10_001)]
    {
        let mut client = Client::login(&server).await;
        client.send_raw(&[&[kind][..], &length.to_be_bytes()].concat()).await;
        let error = client.error().await;
        assert_eq!((error.severity.as_str(), error.state.as_str()), ("FATAL", "08P01"), "{kind} {length}");
        assert_eq!(error.message, "invalid message length");
        client.is_closed_within(Duration::from_secs(2)).await;
    }
    let mut client = Client::login(&server).await;
    client.send_raw(b"\x01").await;
    assert_eq!(client.error().await.message, "invalid frontend message type 1");
}

#[tokio::test]
async fn a_function_call_is_refused_and_the_session_goes_on() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.send(b'F', b"\0\0\0\x01\0\0\0\0\0\0").await;
    assert_eq!(client.error().await.state, "0A000");
    client.ready().await;
    assert_eq!(client.query("rows 1").await, "T D C(SELECT 1) Z(I)");
}

#[tokio::test]
async fn a_query_string_runs_up_to_its_first_error() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    assert_eq!(client.query("").await, "I Z(I)");
    assert_eq!(client.query(" ; ").await, "I Z(I)");
    assert_eq!(client.query("rows 2; done").await, "T D D C(SELECT 2) C(DONE) Z(I)");
    client.send(b'Q', b"done; fail; done\0").await;
    assert_eq!(client.receive().await, (b'C', b"DONE\0".to_vec()));
    let error = client.error().await;
    assert_eq!((error.severity.as_str(), error.state.as_str()), ("ERROR", "22012"));
    assert_eq!((error.detail.as_str(), error.hint.as_str()), ("A detail.", "A hint."));
    assert_eq!(error.position, "8", "counted in the whole string");
    assert_eq!(client.receive().await, (b'Z', b"I".to_vec()));
    assert_eq!(client.query("begin").await, "C(BEGIN) Z(T)");
    assert_eq!(client.query("fail").await, "E(22012) Z(E)");
    assert_eq!(client.query("done").await, "E(25P02) Z(E)");
    assert_eq!(client.query("rollback").await, "C(ROLLBACK) Z(I)");
    assert_eq!(client.query("notice").await, "N C(NOTICE) Z(I)");
    assert_eq!(client.query("set timezone utc").await, "C(SET) S(timezone utc) Z(I)");
    client.send(b'Q', b"ok \xff\0").await;
    assert_eq!(client.answer().await, "E(22021) Z(I)");
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.send(b'Q', b"panic\0").await;
    let error = client.error().await;
    assert_eq!((error.severity.as_str(), error.state.as_str()), ("FATAL", "XX000"));
    Client::login(&server).await.query("rows 1").await;
}

#[tokio::test]
async fn parse_bind_describe_execute() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.parse("s", "add", &[]).await;
    client.describe(b'S', "s").await;
    client.bind("", "s", &[Some(b"40"), Some(b"2")]).await;
    client.describe(b'P', "").await;
    client.execute("", 0).await;
    client.sync().await;
    assert_eq!(client.receive().await.0, b'1');
    assert_eq!(client.receive().await, (b't', [&[0, 2][..], &23u32.to_be_bytes(), &23u32.to_be_bytes()].concat()));
    assert_eq!(client.receive().await.0, b'T');
    assert_eq!(client.receive().await.0, b'2');
    assert_eq!(client.receive().await.0, b'T');
    assert_eq!(client.receive().await, (b'D', b"\0\x01\0\0\0\x0242".to_vec()));
    assert_eq!(client.answer().await, "C(SELECT 1) Z(I)");
    client.parse("", "done", &[]).await;
    client.describe(b'S', "").await;
    client.bind("", "", &[]).await;
    client.describe(b'P', "").await;
    client.execute("", 1).await;
    client.parse("", "", &[]).await;
    client.bind("", "", &[]).await;
    client.execute("", 0).await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 t n 2 n C(DONE) 1 2 I Z(I)");
}

#[tokio::test]
async fn names_that_are_taken_or_unknown() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.parse("s", "rows 1", &[]).await;
    client.parse("s", "rows 1", &[]).await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 E(42P05) Z(I)");
    client.bind("", "nope", &[]).await;
    client.sync().await;
    assert_eq!(client.answer().await, "E(26000) Z(I)");
    client.execute("nope", 0).await;
    client.sync().await;
    assert_eq!(client.answer().await, "E(34000) Z(I)");
    client.describe(b'P', "nope").await;
    client.sync().await;
    assert_eq!(client.answer().await, "E(34000) Z(I)");
    client.bind("p", "s", &[]).await;
    client.bind("p", "s", &[]).await;
    client.sync().await;
    assert_eq!(client.answer().await, "2 E(42P03) Z(I)");
    client.close(b'S', "nope").await;
    client.close(b'P', "nope").await;
    client.close(b'S', "s").await;
    client.bind("", "s", &[]).await;
    client.sync().await;
    assert_eq!(client.answer().await, "3 3 3 E(26000) Z(I)");
    client.parse("s", "rows 1", &[]).await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 Z(I)");
    assert_eq!(client.query("deallocate all").await, "C(DEALLOCATE ALL) Z(I)");
    client.describe(b'S', "s").await;
    client.sync().await;
    assert_eq!(client.answer().await, "E(26000) Z(I)");
}

#[tokio::test]
async fn malformed_binds_are_errors_and_the_session_goes_on() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.parse("s", "add", &[]).await;
    client.sync().await;
    client.answer().await;
    let value = b"\0\0\0\x011";
    let two = [&b"\0\x02"[..], value, value].concat();
    for (formats, values, results, state) in [
        (&b"\0\0"[..], [&b"\0\x01"[..], value].concat(), &b"\0\0"[..], "08P01"),
        (b"\0\0", [&b"\0\x03"[..], value, value, value].concat(), b"\0\0", "08P01"),
        (b"\0\x03\0\0\0\0\0\0", two.clone(), b"\0\0", "08P01"),
        (b"\0\x01\0\x02", two.clone(), b"\0\0", "22023"),
        (b"\0\0", two.clone(), b"\0\x02\0\0\0\0", "08P01"),
        (b"\0\0", two.clone(), b"\0\x01\0\x07", "22023"),
        (b"\0\0", b"\0\x02\0\0\0\x01".to_vec(), b"\0\0", "08P01"),
        (b"\0\0", b"\0\x02\x7f\xff\xff\xff".to_vec(), b"\0\0", "08P01"),
        (b"\0\0", b"\xff\xff".to_vec(), b"", "08P01"),
        (b"\0\x01\0\x01", two.clone(), b"\0\0", "08P01"),
        (b"\0\x01\0\x01", [&b"\0\x02"[..], b"\0\0\0\x0512345", value].concat(), b"\0\0", "22P03"),
        (b"\0\0", [&b"\0\x02"[..], b"\0\0\0\x01\xff", value].concat(), b"\0\0", "22021"),
        (b"\0\0", [&b"\0\x02"[..], b"\0\0\0\x01x", value].concat(), b"\0\0", "22P02"),
    ] {
        client.send(b'B', &[b"\0s\0", formats, &values, results].concat()).await;
        client.execute("", 0).await;
        client.sync().await;
        assert_eq!(client.answer().await, format!("E({state}) Z(I)"), "{formats:?} {values:?} {results:?}");
    }
    client.bind("", "s", &[Some(b"1"), Some(b"2")]).await;
    client.execute("", 0).await;
    client.sync().await;
    assert_eq!(client.answer().await, "2 D C(SELECT 1) Z(I)");
}

#[tokio::test]
async fn an_error_skips_to_the_next_sync() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.parse("", "fail", &[]).await;
    client.bind("", "", &[]).await;
    client.execute("", 0).await;
    client.parse("", "rows 1", &[]).await;
    client.send(b'Q', b"rows 1\0").await;
    client.send(b'H', b"").await;
    client.sync().await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 2 E(22012) Z(I)");
    assert_eq!(client.answer().await, "Z(I)");
    assert_eq!(server.toy.rolled_back.load(Ordering::SeqCst), 1);
    client.parse("", "done", &[]).await;
    client.bind("", "", &[]).await;
    client.execute("", 0).await;
    client.bind("", "", &[]).await;
    client.execute("", 0).await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 2 C(DONE) 2 C(DONE) Z(I)");
    assert_eq!(server.toy.committed.load(Ordering::SeqCst), 1, "one transaction for the batch");
}

#[tokio::test]
async fn portals_give_rows_as_they_are_asked() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.query("begin").await;
    client.parse("", "rows 3", &[]).await;
    client.bind("p", "", &[]).await;
    for limit in [1, 2, 1, 0] {
        client.execute("p", limit).await;
    }
    client.sync().await;
    assert_eq!(client.answer().await, "1 2 D s D D s C(SELECT 0) C(SELECT 0) Z(T)");
    client.bind("q", "", &[]).await;
    client.execute("q", 2).await;
    client.sync().await;
    assert_eq!(client.answer().await, "2 D D s Z(T)");
    client.execute("q", 5).await;
    client.close(b'P', "p").await;
    client.execute("p", 1).await;
    client.sync().await;
    assert_eq!(client.answer().await, "D C(SELECT 1) 3 E(34000) Z(E)");
    client.execute("q", 1).await;
    client.sync().await;
    assert_eq!(client.answer().await, "E(25P02) Z(E)");
    client.query("rollback").await;
    client.parse("", "done", &[]).await;
    client.bind("d", "", &[]).await;
    client.execute("d", 0).await;
    client.execute("d", 0).await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 2 C(DONE) E(55000) Z(I)");
    client.parse("", "rows 3", &[]).await;
    client.bind("p", "", &[]).await;
    client.execute("p", 1).await;
    client.sync().await;
    client.execute("p", 1).await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 2 D s Z(I)");
    assert_eq!(client.answer().await, "E(34000) Z(I)", "outside of a block a portal ends at Sync");
    server.running(0).await;
}

#[tokio::test]
async fn an_error_is_sent_before_the_sync() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.bind("", "nowhere", &[]).await;
    client.send(b'H', b"").await;
    assert_eq!(client.receive().await.0, b'E');
    client.sync().await;
    assert_eq!(client.answer().await, "Z(I)");
}

#[tokio::test]
async fn flush_sends_what_is_there() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.parse("", "rows 1", &[]).await;
    client.send(b'H', b"").await;
    assert_eq!(client.receive().await.0, b'1');
    client.bind("", "", &[]).await;
    client.execute("", 0).await;
    client.send(b'H', b"").await;
    for kind in *b"2DC" {
        assert_eq!(client.receive().await.0, kind);
    }
    client.sync().await;
    assert_eq!(client.answer().await, "Z(I)");
}

#[tokio::test]
async fn pipelining_without_reading_is_held_back() {
    let server = Server::with(Settings { send_buffer_bytes: 4096, ..Settings::default() }).await;
    let mut client = Client::login(&server).await;
    client.parse("s", "rows 1000", &[]).await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 Z(I)");
    let (mut reader, mut writer) = client.split();
    let rounds = 3_000;
    let sending = tokio::spawn(async move {
        for _ in 0..rounds {
            writer.bind("", "s", &[]).await;
            writer.execute("", 0).await;
            writer.sync().await;
        }
        writer
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(server.toy.committed.load(Ordering::SeqCst) < rounds, "the server waits for the reader");
    let mut rows = 0;
    let mut ready = 0;
    while ready < rounds {
        match reader.receive().await.0 {
            b'D' => rows += 1,
            b'Z' => ready += 1,
            _ => {}
        }
    }
    assert_eq!(rows, rounds * 1000);
    sending.await.unwrap();
}

#[tokio::test]
async fn copy_from_the_client() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.send(b'Q', b"copy in\0").await;
    assert_eq!(client.receive().await, (b'G', vec![0, 0, 1, 0, 0]));
    client.send(b'd', b"a\nb").await;
    client.send(b'H', b"").await;
    client.sync().await;
    client.send(b'd', b"\n").await;
    client.send(b'c', b"").await;
    assert_eq!(client.answer().await, "C(COPY 2) Z(I)");

    client.send(b'Q', b"copy in\0").await;
    client.send(b'd', b"a\n").await;
    client.send(b'f', b"changed my mind\0").await;
    assert_eq!(client.receive().await.0, b'G');
    let error = client.error().await;
    assert_eq!((error.state.as_str(), error.message.as_str()), ("57014", "COPY from stdin failed: changed my mind"));
    client.ready().await;

    client.send(b'Q', b"copy in\0").await;
    client.send(b'd', b"bad\n").await;
    client.send(b'd', b"more\n").await;
    client.send(b'c', b"").await;
    assert_eq!(client.answer().await, "G E(22P02) Z(I)");
    assert_eq!(client.query("rows 1").await, "T D C(SELECT 1) Z(I)");

    client.send(b'Q', b"copy in\0").await;
    client.send(b'Q', b"rows 1\0").await;
    assert_eq!(client.answer().await, "G E(08P01) Z(I)");

    client.parse("", "copy in", &[]).await;
    client.bind("", "", &[]).await;
    client.execute("", 0).await;
    client.send(b'H', b"").await;
    client.send(b'd', b"bad\n").await;
    client.send(b'c', b"").await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 2 G E(22P02) Z(I)");

    let mut leaver = Client::login(&server).await;
    leaver.send(b'Q', b"copy in\0").await;
    leaver.send(b'd', b"a\n").await;
    server.running(1).await;
    drop(leaver);
    server.running(0).await;
}

#[tokio::test]
async fn copy_to_the_client() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    assert_eq!(client.query("copy out 2").await, "H d d c C(COPY 2) Z(I)");
    client.parse("", "copy out 1", &[]).await;
    client.bind("", "", &[]).await;
    client.execute("", 0).await;
    client.sync().await;
    assert_eq!(client.answer().await, "1 2 H d c C(COPY 1) Z(I)");
}

#[tokio::test]
async fn a_row_that_comes_late_is_sent_when_it_comes() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.send(b'Q', b"trickle\0").await;
    assert_eq!(client.receive().await.0, b'T');
    assert_eq!(client.receive().await.0, b'D');
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_key_cancels() {
    let server = Server::start().await;
    for (statement, limit_ms) in [("hang", 500), ("trickle", 500), ("copy in", 500), ("endless", 3_000)] {
        let mut client = Client::login(&server).await;
        client.send(b'Q', &[statement.as_bytes(), b"\0"].concat()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        raw::cancel(&server, client.process_id, client.secret).await;
        // What is in the buffers between the two comes first.
        let limit = Duration::from_millis(limit_ms);
        let error = tokio::time::timeout(limit, client.error_after_rows()).await.expect(statement);
        assert_eq!(error.state, "57014", "{statement}");
        client.ready().await;
        assert_eq!(client.query("rows 1").await, "T D C(SELECT 1) Z(I)");
    }
}

#[tokio::test]
async fn a_wrong_key_does_nothing() {
    let server = Server::start().await;
    let mut client = Client::login(&server).await;
    client.send(b'Q', b"hang\0").await;
    server.running(1).await;
    for (process, secret) in [(client.process_id, client.secret ^ 1), (client.process_id + 1, client.secret)] {
        raw::cancel(&server, process, secret).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.running(1).await;
}

#[tokio::test]
async fn a_statement_ends_with_its_client() {
    let server = Server::start().await;
    for statement in ["hang", "endless"] {
        let mut client = Client::login(&server).await;
        client.send(b'Q', &[statement.as_bytes(), b"\0"].concat()).await;
        server.running(1).await;
        drop(client);
        server.running(0).await;

        let mut client = Client::login(&server).await;
        client.send(b'Q', &[statement.as_bytes(), b"\0"].concat()).await;
        server.running(1).await;
        client.half_close().await;
        server.running(0).await;

        let mut client = Client::login(&server).await;
        client.send(b'Q', &[statement.as_bytes(), b"\0"].concat()).await;
        server.running(1).await;
        client.reset();
        server.running(0).await;
    }
    let mut client = Client::login(&server).await;
    client.send_raw(b"X\0\0").await;
    drop(client);
}

#[tokio::test]
async fn idle_sockets_end_and_keep_nobody_out() {
    let settings = Settings {
        authentication_timeout: Duration::from_millis(300),
        max_pending: 20,
        max_connections: 3,
        ..Settings::default()
    };
    let server = Server::with(settings).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut client = connect(&server).await;
        client.send_raw(&[0]).await;
        idle.push(client);
    }
    Client::login(&server).await.query("rows 1").await;
    for mut client in idle {
        client.is_closed_within(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn one_session_too_many_is_told_so() {
    let server = Server::with(Settings { max_connections: 2, ..Settings::default() }).await;
    let first = Client::login(&server).await;
    let _second = Client::login(&server).await;
    let mut third = connect(&server).await;
    third.send_raw(&startup(3 << 16, &[("user", "me")])).await;
    let error = third.error().await;
    assert_eq!((error.severity.as_str(), error.state.as_str()), ("FATAL", "53300"));
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    Client::login(&server).await;
}

#[tokio::test]
async fn a_shutdown_is_announced() {
    let mut server = Server::start().await;
    let (mut idle, mut busy) = (Client::login(&server).await, Client::login(&server).await);
    busy.send(b'Q', b"hang\0").await;
    server.running(1).await;
    server.stop();
    for client in [&mut idle, &mut busy] {
        let error = client.error().await;
        assert_eq!((error.severity.as_str(), error.state.as_str()), ("FATAL", "57P01"));
        client.is_closed_within(Duration::from_secs(1)).await;
    }
}
