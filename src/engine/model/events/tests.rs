use super::*;

fn publish(events: &Events, kind: EventKind, route: &str, count: usize) {
    let one = || Happened {
        kind,
        websocket_id: "id".into(),
        route: route.into(),
        session_id: None,
        close: None,
    };
    events.publish(&mut (0..count).map(|_| one()).collect(), Moment::default());
}

#[test]
fn a_stream_goes_on_where_another_stopped() {
    let events = Arc::new(Events::new(1, TimeOfDay::Invented, 1));
    let mut first = events.stream(EventFilter::default(), None);
    publish(&events, EventKind::Open, "/a", 3);
    let id = first.try_next().unwrap().id;
    let mut second = events.stream(EventFilter::default(), id.to_string().parse().ok());
    for _ in 0..2 {
        assert_eq!(first.try_next(), second.try_next());
    }
    assert_eq!(first.try_next(), None);
    let filter = EventFilter { route: Some("/b".into()), kinds: vec![EventKind::Closed] };
    let mut third = events.stream(filter, Some(id));
    publish(&events, EventKind::Closed, "/a", 1);
    publish(&events, EventKind::Open, "/b", 1);
    publish(&events, EventKind::Closed, "/b", 1);
    assert_eq!(third.try_next().map(|event| event.id.number), Some(6));
    assert_eq!(third.try_next(), None);
}

#[test]
fn an_id_is_what_was_written_and_nothing_like_it() {
    for right in ["00000000-0", "ffffffff-9999999999999999999", "0123abcd-007"] {
        assert!(right.parse::<EventId>().is_ok(), "{right}");
    }
    for wrong in [
        "",
        "-",
        "0-0",
        "0000000-0",
        "00000000-",
        "FFFFFFFF-1",
        "+fffffff-1",
        "00000000-+1",
        "00000000-10000000000000000000",
        "00000000-1 ",
        "00000000-1-1",
        "0000000é-1",
    ] {
        assert_eq!(wrong.parse::<EventId>(), Err(NoEventId), "{wrong}");
    }
}

#[test]
fn a_stream_says_where_it_is_before_its_first_event_and_past_those_of_others() {
    let events = Arc::new(Events::new(1, TimeOfDay::Invented, 1));
    let filter = EventFilter { route: Some("/b".into()), kinds: vec![] };
    let number = |stream: &EventStream| stream.position().map(|id| id.number);
    let mut stream = events.stream(filter.clone(), None);
    assert_eq!(number(&stream), Some(0));
    let again = events.stream(filter.clone(), stream.position());
    publish(&events, EventKind::Open, "/a", 2);
    publish(&events, EventKind::Open, "/b", 1);
    publish(&events, EventKind::Open, "/a", 1);
    for mut stream in [again, events.stream(filter.clone(), stream.position())] {
        assert_eq!(stream.try_next().map(|event| event.id.number), Some(3));
    }
    assert_eq!(stream.try_next().map(|event| event.id.number), Some(3));
    assert_eq!((number(&stream), stream.try_next(), number(&stream)), (Some(3), None, Some(4)));
    // Whoever resumed from a position before the gap was told would never hear of it.
    let foreign = EventId { epoch: 2, number: 3 };
    let mut stream = events.stream(filter, Some(foreign));
    assert_eq!(number(&stream), None);
    let gap = stream.try_next().unwrap();
    assert_eq!((gap.kind, &*gap.route, number(&stream)), (EventKind::Gap, "/b", Some(0)));
}

/// As it is where the time is learnt of after the start, or was wrong by years then.
#[test]
fn a_clock_that_is_set_is_followed_and_one_that_only_trembles_is_not() {
    let (now_ms, year_ms) = (1_800_000_000_000, 31_536_000_000);
    let mut times = Times::default();
    let mut at = 0;
    for set_ms in [0, 5, now_ms, now_ms + year_ms, now_ms - year_ms, now_ms, 0, now_ms] {
        for (later, trembles) in [(0_u64, 0_i64), (700, 40), (1_400, -40), (9_000, 4_999)] {
            let now = Moment::from_millis(at + later);
            let host_ms = (set_ms + later).saturating_add_signed(trembles);
            let told_ms = times.unix_ms(host_ms, now);
            assert!(
                told_ms.abs_diff(host_ms)
                    <= CLOCK_SET_MS.max(now.as_millis().saturating_sub(host_ms))
            );
            if set_ms > now.as_millis() {
                assert_eq!(told_ms, set_ms + later);
            }
        }
        at += 9_000;
    }
}

#[test]
fn what_is_not_kept_is_a_gap_and_then_goes_on() {
    let events = Arc::new(Events::new(1, TimeOfDay::Invented, 1));
    let mut slow = events.stream(EventFilter::default(), None);
    publish(&events, EventKind::Open, "/a", EVENTS_KEPT_MAX + 5);
    assert_eq!(slow.try_next().unwrap().kind, EventKind::Gap);
    assert_eq!(slow.try_next().unwrap().id.number, 6);
    let mut count = 1;
    while slow.try_next().is_some() {
        count += 1;
    }
    assert_eq!(count, EVENTS_KEPT_MAX);
    // Of another run, and from the future: both are told that they have missed something.
    for foreign in [EventId { epoch: 2, number: 3 }, EventId { epoch: 1, number: u64::MAX }] {
        let mut stream = events.stream(EventFilter::default(), Some(foreign));
        assert_eq!(stream.try_next().unwrap().kind, EventKind::Gap);
        assert_eq!(stream.try_next().unwrap().id.number, 6);
    }
}
