//! The stream of events over connections that end.

use super::plane::{Fault, Plane};
use super::{LONG, SOON, WAYS, client_of};
use ringwire::CloseCode;
use ringwire::client::{EventKind, EventQuery};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn events_go_on_where_they_were() {
    for is_http2 in WAYS {
        let plane = Plane::default();
        plane.end_streams_after(2, is_http2);
        let client = client_of(&plane, is_http2).await;
        let mut events = client.events(EventQuery::default());
        plane.tell("open", json!({"id": "before"}));
        events.ready().await.expect("it answers");
        for number in 0..7 {
            plane.tell("readable", json!({"id": format!("s{number}"), "route": "/feed"}));
        }
        plane.tell("news", json!({}));
        let closed = json!({"id": "s", "code": 1001, "reason": "away", "by": "peer", "more": 1});
        plane.tell("closed", closed);
        plane.tell("gap", json!({}));
        plane.fail("events", Fault::Before);
        for number in 0..7 {
            // A future that is dropped loses nothing.
            let event = loop {
                if let Ok(event) = timeout(Duration::from_micros(300), events.next()).await {
                    break event.expect("an event");
                }
            };
            assert_eq!(event.websocket_id, format!("s{number}"));
            assert_eq!((event.kind, event.id), (EventKind::Readable, format!("7-{}", number + 2)));
        }
        let event = timeout(LONG, events.next()).await.expect("in time").expect("an event");
        let code = CloseCode::GOING_AWAY;
        let closed = EventKind::Closed { code, reason: "away".into(), by: "peer".into() };
        assert_eq!((event.kind, &event.data["more"]), (closed, &json!(1)));
        let event = timeout(LONG, events.next()).await.expect("in time").expect("an event");
        assert_eq!(event.kind, EventKind::Gap);
    }
}

#[tokio::test]
async fn a_stream_that_begins_with_an_id_goes_on_although_nothing_came() {
    let plane = Plane::default();
    plane.end_streams_after(0, true);
    let client = client_of(&plane, false).await;
    let mut events = client.events(EventQuery::default());
    events.ready().await.expect("it answers");
    plane.tell("readable", json!({"id": "s"}));
    while plane.seen("events") < 3 {
        assert!(timeout(SOON, events.next()).await.is_err(), "an event of an empty stream");
    }
    plane.end_streams_after(9, true);
    let event = timeout(LONG, events.next()).await.expect("in time").expect("an event");
    assert_eq!((event.kind, event.websocket_id.as_str()), (EventKind::Readable, "s"));
}

#[tokio::test]
async fn a_stream_that_gave_no_id_before_it_ended_has_a_gap() {
    let plane = Plane::default();
    plane.end_streams_after(0, false);
    let client = client_of(&plane, false).await;
    let mut events = client.events(EventQuery::default());
    events.ready().await.expect("it answers");
    plane.tell("readable", json!({"id": "s"}));
    let event = timeout(LONG, events.next()).await.expect("in time").expect("an event");
    assert_eq!(event.kind, EventKind::Gap);
}
