//! A control plane that is busy, and answers that are lost just before the end.

use super::plane::{Fault, Plane};
use super::{LONG, SOON, WAYS, client_of, put, written};
use ringwire::client::{Client, ReadError};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says() {
    for is_http2 in WAYS {
        let plane = Plane::default();
        put(&plane, "a", &["x"]);
        let client = client_of(&plane, is_http2).await;
        let verbs = ["open", "read", "write", "release"];
        verbs.iter().for_each(|verb| plane.fail(verb, Fault::Busy));
        let began = Instant::now();
        let mut socket = client.open_server("a").await.expect("it waits");
        assert_eq!(socket.read(99, LONG).await.expect("it waits"), "x");
        socket.write("y").await.expect("it waits");
        socket.release().await.expect("it waits");
        assert!(began.elapsed() >= Duration::from_secs(4), "it was asked too soon");
        assert_eq!(written(&plane, "a"), [(true, b"y".to_vec())]);
        for verb in verbs {
            assert_eq!(plane.seen(verb), 1, "{verb}");
        }
    }
}

#[tokio::test]
async fn a_lease_is_kept_while_the_server_is_busy() {
    let plane = Plane::default();
    put(&plane, "a", &[]);
    let address = plane.clone().tcp().await;
    let builder = Client::builder(&address).retry_for(Duration::ZERO);
    let client = builder.connect().await.expect("it listens");
    let socket = client.open_server("a").await.expect("it is free");
    for _ in 0..3 {
        plane.fail("renew", Fault::Busy);
    }
    let began = Instant::now();
    while plane.seen("renew") < 3 {
        assert!(began.elapsed() < LONG, "it is not renewed any more");
        tokio::time::sleep(SOON).await;
    }
    drop(socket);
}

#[tokio::test]
async fn a_release_gives_back_what_never_arrived() {
    for is_http2 in WAYS {
        let plane = Plane::default();
        put(&plane, "a", &["seen", "unseen"]);
        let address = plane.clone().tcp().await;
        let builder = Client::builder(&address).http2(is_http2).retry_for(Duration::ZERO);
        let client = builder.connect().await.expect("it listens");
        let mut socket = client.open_server("a").await.expect("it is free");
        assert_eq!(socket.read(99, LONG).await.expect("a message"), "seen");
        // It is handed out, and its answer is lost.
        plane.fail("read", Fault::After);
        assert!(matches!(socket.read(99, LONG).await, Err(ReadError::Client(_))));
        socket.release().await.expect("it is ours");
        let mut next = client.open_server("a").await.expect("it is free");
        assert_eq!(next.read(99, LONG).await.expect("a message"), "unseen");
        next.release().await.expect("it is ours");
        // And what did arrive is acknowledged, as ever.
        let mut last = client.open_server("a").await.expect("it is free");
        assert!(matches!(last.read(99, SOON).await, Err(ReadError::Timeout)));
    }
}
