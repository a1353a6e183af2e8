//! What the control plane says while the server is being drained.

use super::stand::Stand;
use std::time::{Duration, Instant};
use support::http::Connection;
use support::{connect, eventually, quick};
use tungstenite::Message;

#[test]
fn a_drain_is_alive_and_not_ready_until_it_is_over() {
    let mut settings = quick();
    settings.shards = 2;
    settings.timeouts.drain = Duration::from_secs(3);
    settings.timeouts.close = Duration::from_secs(60);
    let stand =
        Stand::start(settings, |builder| builder.route("/echo", support::on(support::echo)));
    // It never answers the Close frame, so that its shard is there until the end; the other ends at
    // once.
    let mut stubborn = connect(stand.server.address, "/echo");
    stubborn.send(Message::text("x")).expect("open");
    assert_eq!(support::text(&mut stubborn), "x");
    let mut unix = Connection::unix(&stand.socket);
    let mut operator = stand.operator();
    assert_eq!((unix.get("/healthz").status, unix.get("/readyz").status), (200, 200));
    let began = Instant::now();
    stand.server.handle().drain();
    eventually("it is not ready any more", || unix.get("/readyz").status == 503);
    let mut asked = 0;
    while began.elapsed() < Duration::from_millis(2_500) {
        // Also somebody who comes only now.
        for connection in [&mut unix, &mut operator, &mut stand.stranger()] {
            let health = connection.get("/healthz");
            assert_eq!((health.status, health.json()["healthy"].clone()), (200, true.into()));
            let ready = connection.get("/readyz");
            assert_eq!((ready.status, ready.json()["ready"].clone()), (503, false.into()));
        }
        let status = operator.get("/v1/status").json();
        assert_eq!((&status["draining"], &status["healthy"]), (&true.into(), &true.into()));
        asked += 1;
    }
    assert!(asked > 0);
    let totals = stand.server.join();
    assert_eq!(totals.cut, 1);
}
