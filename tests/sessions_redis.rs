//! Sessions in a real Redis: the contract, two engines that share it, a web application in Python
//! that logs in and out, `redis-cli` that revokes, and a server that goes away and comes back.

#[path = "sessions_redis/server.rs"]
mod server;

use ringwire::{RedisStore, Replaced, RevokeError, SessionSettings, SessionStore};
use server::{Redis, page, python};
use std::thread;
use std::time::{Duration, Instant};
use support::stores::{id, keep_the_contract, record};
use support::visitor::{Browser, ask, serve, wait};
use support::{Client, PATIENCE, Server, close_of, eventually};
use tungstenite::Message;

/// What another process may take to close the WebSockets of a revoked session.
const SOON: Duration = Duration::from_secs(2);

fn engine(redis: &Redis) -> Server {
    let store = RedisStore::new(&redis.url()).expect("a URL");
    serve(SessionSettings::default(), |builder| builder.session_store(store))
}

#[test]
fn redis_keeps_the_contract() {
    let redis = Redis::start();
    wait(keep_the_contract(&RedisStore::new(&redis.url()).expect("a URL")));
    // Another prefix is another set of sessions, and nothing lives for ever.
    let store = RedisStore::new(&redis.url()).expect("a URL").key_prefix("other:");
    wait(async {
        let life = Duration::from_secs(60);
        store.create(id(1), record(&[("user", "ada")]), life).await.expect("it answers");
        let known = store.replace(id(1), record(&[("user", "ada")]), record(&[]), life);
        assert_eq!(known.await, Ok(Replaced::Done));
    });
    for key in redis.cli(&["KEYS", "*"]).lines() {
        assert!(key.starts_with("other:") || key.starts_with("ringwire:session:"), "{key}");
        let ttl: i64 = redis.cli(&["TTL", key]).parse().expect("seconds");
        assert!((1..=60).contains(&ttl), "{key} {ttl}");
    }
}

#[test]
fn a_session_is_a_hash_that_others_read_and_write() {
    let redis = Redis::start();
    let server = engine(&redis);
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/?login");
    let key = format!("ringwire:session:{}", ask(&mut client, "id"));
    assert_eq!(redis.cli(&["HGET", &key, "user"]), "ada");
    redis.cli(&["HSET", &key, "user", "grace", "basket", "7"]);
    assert_eq!([ask(&mut client, "get user"), ask(&mut client, "get basket")], ["grace", "7"]);
    assert_eq!(ask(&mut client, "set basket 8"), "7");
    assert_eq!(redis.cli(&["HGET", &key, "basket"]), "8");
    assert_eq!(ask(&mut client, "clear"), "ok");
    assert_eq!(redis.cli(&["HKEYS", &key]), "ringwire.created");
    // What stands there that is no text is an error, and nobody's end.
    redis.cli_of(&format!("EVAL \"redis.call('HSET', '{key}', 'user', '\\\\255')\" 0"));
    assert!(ask(&mut client, "get user").starts_with("error: session store: "));
    redis.cli(&["HSET", &key, "user", "ada"]);
    assert_eq!(ask(&mut client, "get user"), "ada");
    // The next handshake rotates because another program asks for it.
    redis.cli(&["HSET", &key, "ringwire.rotate", "1"]);
    let (mut rotated, came) = browser.connect(server.address, "/");
    assert!(came && ask(&mut rotated, "get user") == "ada");
    assert_eq!(close_of(&mut client).0, 1008);
    assert_eq!(redis.cli(&["EXISTS", &key]), "0");
    server.finish();
}

#[test]
fn a_session_has_an_age_that_others_see() {
    let redis = Redis::start();
    let server = engine(&redis);
    let mut browser = Browser::default();
    let (mut first, _) = browser.connect(server.address, "/?login");
    let key = format!("ringwire:session:{}", ask(&mut first, "id"));
    let now: u64 = redis.cli(&["HGET", &key, "ringwire.created"]).parse().expect("seconds");
    // One that a program has made without saying when is young from now on.
    redis.cli(&["HDEL", &key, "ringwire.created"]);
    assert!(!browser.connect(server.address, "/").1);
    let seen: u64 = redis.cli(&["HGET", &key, "ringwire.created"]).parse().expect("seconds");
    assert!((now..now + 10).contains(&seen), "{seen}");
    // In the last of its time it does not live on in the store either, however it is touched.
    let day_s = 86_400;
    redis.cli(&["HSET", &key, "ringwire.created", &(now - day_s + 100).to_string()]);
    let (second, came) = browser.connect(server.address, "/");
    assert!(!came);
    let left_s = || redis.cli(&["TTL", &key]).parse::<i64>().expect("seconds");
    assert!((1..=100).contains(&left_s()), "{}", left_s());
    // A program on a host whose clock is ahead has made it in the future: it is young from now on.
    redis.cli(&["HSET", &key, "ringwire.created", &(now + 400 * day_s).to_string()]);
    assert!(!browser.connect(server.address, "/").1);
    let seen: u64 = redis.cli(&["HGET", &key, "ringwire.created"]).parse().expect("seconds");
    assert!((now..now + 60).contains(&seen), "{seen}");
    redis.cli(&["HSET", &key, "ringwire.created", &(now - day_s - 1).to_string()]);
    let (mut third, came) = browser.connect(server.address, "/");
    assert!(came && ask(&mut third, "get user") == "-");
    assert_eq!(redis.cli(&["EXISTS", &key]), "0");
    for mut client in [first, second] {
        assert_eq!(close_of(&mut client), (1008, "the session is too old".into()));
    }
    server.finish();
}

/// What nobody has written to costs Redis nothing, and is told to others by its first value.
#[test]
fn a_session_is_in_redis_from_its_first_value_on() {
    let redis = Redis::start();
    let (here, there) = (engine(&redis), engine(&redis));
    for number in 0..50 {
        let planted = Browser::with_cookie(&format!("{number:A>32}"));
        for mut stranger in [Browser::default(), planted] {
            assert!(stranger.connect(here.address, "/").1);
        }
    }
    let mut browser = Browser::default();
    let (mut first, _) = browser.connect(here.address, "/");
    let id = ask(&mut first, "id");
    assert_eq!(ask(&mut first, "rotate"), "ok");
    assert_eq!(redis.cli(&["DBSIZE"]), "0");
    assert_eq!(ask(&mut first, "set user ada"), "-");
    let key = format!("ringwire:session:{id}");
    assert_eq!(redis.cli(&["HGET", &key, "user"]), "ada");
    // With all that was said about it before.
    assert_eq!(redis.cli(&["HGET", &key, "ringwire.rotate"]), "1");
    let (mut second, came) = browser.connect(there.address, "/");
    assert!(came && ask(&mut second, "get user") == "ada");
    assert_eq!(close_of(&mut first), (1008, "the session has ended".into()));
    // Another program may be the first to write.
    let mut other = Browser::default();
    let (mut third, _) = other.connect(here.address, "/");
    let key = format!("ringwire:session:{}", ask(&mut third, "id"));
    redis.cli(&["HSET", &key, "user", "grace"]);
    assert_eq!(ask(&mut third, "get user"), "grace");
    redis.cli(&["DEL", &key]);
    assert_eq!(close_of(&mut third), (1008, "the session has ended".into()));
    here.finish();
    there.finish();
}

#[test]
fn two_engines_share_sessions_values_and_revocations() {
    let redis = Redis::start();
    let (here, there) = (engine(&redis), engine(&redis));
    let mut browser = Browser::default();
    let (mut first, _) = browser.connect(here.address, "/?login");
    let (mut second, came) = browser.connect(there.address, "/");
    assert!(!came && ask(&mut second, "get user") == "ada");
    // Changes from both at once are all made, and each shard serves others meanwhile.
    let mut clients: Vec<Client> = Vec::new();
    for server in [&here, &there, &here, &there] {
        clients.push(browser.connect(server.address, "/").0);
    }
    for client in &mut clients {
        client.send(Message::text("add 100")).expect("it listens");
    }
    for client in &mut clients {
        assert_eq!(support::text(client), "ok");
    }
    assert_eq!(ask(&mut second, "get count"), "400");

    let id = ask(&mut first, "id");
    let (mut other, _) = Browser::default().connect(there.address, "/");
    let revoked = Instant::now();
    assert_eq!(wait(here.handle().revoke_session(&id)), Ok(3));
    assert_eq!(close_of(&mut first), (1008, "the session was revoked".into()));
    assert_eq!(close_of(&mut second), (1008, "the session has ended".into()));
    clients.iter_mut().for_each(|client| assert_eq!(close_of(client).0, 1008));
    assert!(revoked.elapsed() < SOON, "{:?}", revoked.elapsed());
    assert_eq!(wait(there.handle().revoke_session(&id)), Err(RevokeError::Unknown));
    assert!(browser.connect(there.address, "/").1);
    assert_eq!(ask(&mut other, "get user"), "-");
    here.finish();
    there.finish();
}

#[test]
fn a_rotation_in_one_engine_ends_the_old_cookie_in_the_other() {
    let redis = Redis::start();
    let (here, there) = (engine(&redis), engine(&redis));
    let mut browser = Browser::default();
    let (mut old, _) = browser.connect(there.address, "/");
    assert_eq!(ask(&mut old, "set basket 7"), "-");
    let mut planted = browser.clone();
    let (mut new, came) = browser.connect(here.address, "/?login");
    assert!(came && ask(&mut new, "get user") == "ada");
    assert_eq!(close_of(&mut old), (1008, "the session has ended".into()));
    assert!(planted.connect(there.address, "/").1);
    let (mut again, came) = browser.connect(there.address, "/");
    assert!(!came && ask(&mut again, "get user") == "ada");
    here.finish();
    there.finish();
}

/// The program of docs/sessions.md, as it stands there.
#[test]
fn a_web_application_in_python_logs_in_and_out() {
    let redis = Redis::start();
    let server = engine(&redis);
    let (_application, port) = python(redis.port);
    let mut browser = Browser::default();
    // A WebSocket comes first: its session becomes that of the login, with another cookie.
    let (mut before, _) = browser.connect(server.address, "/");
    assert_eq!(ask(&mut before, "set basket 7"), "-");
    assert_eq!(page(port, "/who", &mut browser), "nobody");
    page(port, "/login?ada", &mut browser);
    assert_eq!(close_of(&mut before), (1008, "the session has ended".into()));
    assert_eq!(page(port, "/who", &mut browser), "ada");
    let (mut client, came) = browser.connect(server.address, "/");
    assert!(!came, "the cookie of the page is the cookie of the WebSocket");
    assert_eq!([ask(&mut client, "get user"), ask(&mut client, "get basket")], ["ada", "7"]);
    ask(&mut client, "set user grace");
    assert_eq!(page(port, "/who", &mut browser), "grace");
    let left = Instant::now();
    page(port, "/logout", &mut browser);
    assert_eq!(close_of(&mut client), (1008, "the session has ended".into()));
    assert!(left.elapsed() < SOON, "{:?}", left.elapsed());
    // One that begins at the page.
    let mut other = Browser::default();
    page(port, "/login?linus", &mut other);
    let (mut client, came) = other.connect(server.address, "/");
    assert!(!came && ask(&mut client, "get user") == "linus");
    server.finish();
}

#[test]
fn redis_may_go_away_and_come_back() {
    let mut redis = Redis::start();
    let server = engine(&redis);
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/?login");
    redis.stop();
    let (status, retry) = browser.refused(server.address, "/");
    assert_eq!((status, retry.as_str()), (503, "5"));
    assert!(ask(&mut client, "get user").starts_with("error: session store: "));
    // Longer than it takes to look for revoked sessions: nobody is closed for the failure.
    thread::sleep(Duration::from_millis(2_500));
    assert_eq!(ask(&mut browser.connect(server.address, "/plain").0, "id"), "no session, None");
    assert!(ask(&mut client, "get user").starts_with("error: session store: "));
    // It comes back with what it had saved.
    redis.restart();
    eventually("the session is there again", || ask(&mut client, "get user") == "ada");
    assert!(!browser.connect(server.address, "/").1);
    server.finish();
}

#[test]
fn a_server_that_is_not_there_is_told_and_waited_for() {
    assert!(RedisStore::new("http://127.0.0.1").is_err());
    let mut redis = Redis::start();
    redis.stop();
    let server = engine(&redis);
    let asked = Instant::now();
    let browser = Browser::with_cookie("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(browser.refused(server.address, "/").0, 503);
    assert!(asked.elapsed() < PATIENCE);
    redis.restart();
    eventually("it connects", || browser.clone().try_connect(server.address, "/").is_ok());
    server.finish();
}
