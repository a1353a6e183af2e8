//! What an operator sees.

use crate::{Shared, wait};
use ringwire::{SocketOrder, SocketQuery, SocketStatus};
use std::collections::BTreeSet;
use support::connect;
use tungstenite::Message;

#[test]
fn pages_show_every_socket_once_and_filters_and_orders_hold() {
    let mut settings = support::quick();
    settings.shards = 2;
    let shared = Shared::start(settings, crate::options(Default::default()));
    let handle = shared.server.handle();
    let mut clients: Vec<_> = (0..60).map(|_| shared.client()).collect();
    for _ in 0..40 {
        clients.push((connect(shared.server.address, "/dedicated"), String::new()));
    }
    for (index, (client, id)) in clients.iter_mut().enumerate() {
        for _ in 0..index % 10 {
            client.send(Message::text("x")).unwrap();
        }
        if id.is_empty() {
            client.flush().unwrap();
        }
    }
    let held = wait(handle.open_server(&clients[0].1)).unwrap();
    support::eventually("all have come", || {
        wait(handle.status()).totals.messages_in == (0..100).map(|index| index % 10).sum::<u64>()
    });
    let mut seen = BTreeSet::new();
    let mut query = SocketQuery { limit: 7, ..SocketQuery::default() };
    loop {
        let page = wait(handle.sockets(&query));
        assert_eq!(page.total, 100);
        assert!(page.sockets.len() <= 7);
        for socket in &page.sockets {
            assert!(seen.insert(socket.id.clone()), "twice");
            assert_eq!(wait(handle.socket(&socket.id)).unwrap().number, socket.number);
        }
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 100);
    let count = |query: SocketQuery| {
        let page = wait(handle.sockets(&query));
        assert!(page.sockets.len() as u64 <= page.total);
        page.total
    };
    let with = |status| SocketQuery { status: Some(status), limit: 3, ..SocketQuery::default() };
    assert_eq!(count(with(SocketStatus::WebSocket)), 40);
    assert_eq!(count(with(SocketStatus::Unattended)), 59);
    assert_eq!(count(with(SocketStatus::Shared)), 1);
    assert_eq!(count(with(SocketStatus::Closing)), 0);
    let route = Some("/dedicated".to_owned());
    assert_eq!(count(SocketQuery { route, ..SocketQuery::default() }), 40);
    let text = Some(clients[3].1[10..].to_owned());
    assert_eq!(count(SocketQuery { text, ..SocketQuery::default() }), 1);
    let mut sorted = Vec::new();
    for offset in [0, 30, 60, 90] {
        let page = wait(handle.sockets(&SocketQuery {
            limit: 30,
            offset,
            sort: Some(SocketOrder::MessagesIn),
            descending: true,
            ..SocketQuery::default()
        }));
        assert_eq!(page.total, 100);
        sorted.extend(page.sockets.iter().map(|socket| (socket.messages_in, socket.id.clone())));
    }
    assert!(sorted.is_sorted_by(|a, b| a.0 >= b.0));
    assert_eq!(sorted.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len(), 100);
    drop((held, clients));
    shared.server.finish();
}

#[test]
fn status_adds_up() {
    let shared = Shared::quick();
    let handle = shared.server.handle();
    let (mut client, id) = shared.client();
    let dedicated = connect(shared.server.address, "/dedicated");
    client.send(Message::text("four")).unwrap();
    wait(handle.write_to(&id, "answer")).unwrap();
    assert_eq!(support::text(&mut client), "answer");
    let mut raw = support::raw::Raw::connect(shared.server.address);
    raw.send(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(raw.reply().status, 404);
    let status = wait(handle.status());
    assert!(status.ready && status.healthy && !status.draining);
    let totals = &status.totals;
    assert_eq!((totals.messages_in, totals.messages_out, totals.opened), (1, 1, 2));
    assert!(totals.bytes_in > 100 && totals.bytes_out > 100);
    assert_eq!((status.shards.len(), status.shards[0].handlers), (1, 1));
    let paths: Vec<_> = status.routes.iter().map(|route| &*route.path).collect();
    assert_eq!(paths, ["/", "/dedicated"]);
    let counts = |index: usize| {
        let route = &status.routes[index];
        (route.opened, route.open, route.shared, route.unattended)
    };
    assert_eq!((counts(0), counts(1)), ((1, 1, 1, 1), (1, 1, 0, 0)));
    assert!(status.refusals.contains(&(404, 1)));
    client.close(None).unwrap();
    while client.read().is_ok() {}
    drop(dedicated);
    support::eventually("both are gone", || wait(handle.status()).connections == 0);
    let status = wait(handle.status());
    assert!(status.closes.contains(&("1005", 1)) && status.closes.contains(&("1006", 1)));
    assert_eq!(
        (status.routes[0].open, status.routes[0].shared, status.routes[0].unattended),
        (0, 0, 0)
    );
    shared.server.finish();
}
