//! Clocks that are wrong, and clocks that are set.

use ringwire::{SessionId, SessionSettings, SessionStore};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::stores::Clocked;
use support::visitor::{Browser, ask, serve, wait};
use support::{Client, close_of};

const NOW_S: u64 = 1_800_000_000;
const DAY_S: u64 = 86_400;

/// Longer than it takes to look after sessions.
const LOOKED: Duration = Duration::from_millis(1_500);

fn id_of(client: &mut Client) -> SessionId {
    ask(client, "id").parse().expect("an id")
}

/// As it is on a machine that starts in 1970, or with the time of its last end, and learns of the
/// time later: sessions that were made before have ended, once, and the cookies that come then are
/// good.
#[test]
fn a_clock_that_was_years_behind_costs_a_cookie_once() {
    for start_s in [1, NOW_S - 400 * DAY_S] {
        let store = Arc::new(Clocked::new(start_s));
        let settings = SessionSettings::default();
        let server = serve(settings, |builder| builder.session_store(Arc::clone(&store)));
        let (mut browser, mut silent) = (Browser::default(), Browser::default());
        let (mut client, _) = browser.connect(server.address, "/?login");
        let (mut empty, _) = silent.connect(server.address, "/");
        store.set(NOW_S);
        thread::sleep(LOOKED);
        // Open WebSockets do not notice.
        assert_eq!(ask(&mut client, "set user grace"), "ada");
        assert_eq!(ask(&mut empty, "set user eve"), "-");
        let record = wait(store.kept.load(id_of(&mut empty), Duration::from_secs(900)));
        let created_s = record.expect("it answers").expect("it is there").created_unix_s;
        assert!(NOW_S - created_s < 60, "stamped when it was stored, {created_s}");
        assert!(!silent.connect(server.address, "/").1);
        assert!(browser.connect(server.address, "/?login").1);
        assert_eq!(close_of(&mut client), (1008, "the session is too old".into()));
        for _ in 0..3 {
            let (mut client, came) = browser.connect(server.address, "/");
            assert!(!came && ask(&mut client, "get user") == "ada");
        }
        server.finish();
    }
}

/// What was made in the future is young, and becomes old like everything else.
#[test]
fn a_clock_that_was_years_ahead_costs_nobody_a_session_and_gives_none_for_ever() {
    let store = Arc::new(Clocked::new(NOW_S + 400 * DAY_S));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/?login");
    let id = id_of(&mut client);
    store.set(NOW_S);
    thread::sleep(LOOKED);
    assert_eq!(ask(&mut client, "get user"), "ada");
    let (mut second, came) = browser.connect(server.address, "/");
    assert!(!came && ask(&mut second, "get user") == "ada");
    let record = wait(store.kept.load(id, Duration::from_secs(900))).expect("it answers");
    assert_eq!(record.expect("it is there").created_unix_s, NOW_S);
    store.set(NOW_S + DAY_S - 10);
    assert!(!browser.connect(server.address, "/").1);
    store.set(NOW_S + DAY_S + 10);
    let (mut third, came) = browser.connect(server.address, "/");
    assert!(came && ask(&mut third, "get user") == "-");
    server.finish();
}

/// A clock that says 0, or is before 1970, is one like any other: 0 in a record means that nobody
/// knows.
#[test]
fn a_session_that_was_made_at_the_beginning_of_time_has_an_age() {
    let store = Arc::new(Clocked::new(0));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let mut browser = Browser::default();
    let (client, _) = browser.connect(server.address, "/?login");
    assert!(!browser.connect(server.address, "/").1);
    store.set(DAY_S + 10);
    assert!(browser.connect(server.address, "/").1, "a day is over");
    drop(client);
    server.finish();
}
