//! Of the holders that wait on one thread the first is woken by the shard, and the others by it.

use crate::frames::frame;
use crate::wire::{FIN, TEXT};
use ringwire::engine::SimulatedEngine;
use ringwire::ring::sim::{PeerId, SimNet, SimOptions, SimRing};
use ringwire::{
    Data, Engine, EngineHandle, Error, Opening, READ_LEN_DEFAULT, ReadError, Refusal, SharedSocket,
    WebSocket, WebSocketServer,
};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const SOCKETS: usize = 5;

/// Turns in which anything is done that is to be done.
const TURNS: usize = 20;

/// Leaves its socket to the test.
struct Leave(Sender<String>);

impl WebSocketServer for Leave {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(true);
        self.0.send(opening.websocket_id()).expect("the test listens");
        Ok(())
    }

    async fn server(&mut self, _: &mut WebSocket) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type ReadFuture<'a> = Pin<Box<dyn Future<Output = Result<Data, ReadError>> + 'a>>;

/// A read that waits, with a waker of its own.
struct Reading<'a> {
    future: ReadFuture<'a>,
    woken: Arc<Woken>,
}

impl<'a> Reading<'a> {
    fn new(socket: &'a mut SharedSocket) -> Self {
        let future = Box::pin(socket.read(READ_LEN_DEFAULT, Duration::from_secs(60)));
        let mut reading = Self { future, woken: Arc::default() };
        assert!(reading.poll().is_pending());
        reading
    }

    fn poll(&mut self) -> Poll<Result<Data, ReadError>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed)
    }
}

/// An engine without faults, and shared sockets that this thread holds.
struct Bench {
    engine: SimulatedEngine,
    net: SimNet,
    peers: Vec<PeerId>,
    sockets: Vec<SharedSocket>,
}

impl Bench {
    fn new() -> Self {
        let options = SimOptions::default();
        let ring = SimRing::new(1, options);
        let net = ring.net();
        let (sender, ids) = channel();
        let engine = Engine::builder().route("/", move || Leave(sender.clone())).simulate(ring);
        let handle = EngineHandle::of_simulated(&engine);
        let peers: Vec<PeerId> = (0..SOCKETS).map(|_| net.connect(0)).collect();
        let mut bench = Self { engine, net, peers, sockets: Vec::new() };
        for peer in &bench.peers {
            assert!(bench.net.peer_write(*peer, UPGRADE.as_bytes()));
        }
        // No more than needed: a turn in which nothing happens lasts until the next deadline.
        let mut known = Vec::new();
        while known.len() < SOCKETS {
            bench.engine.turn().unwrap();
            known.extend(ids.try_iter());
        }
        for id in known {
            let socket = bench.open(&handle, &id);
            bench.sockets.push(socket);
        }
        bench
    }

    fn open(&mut self, handle: &EngineHandle, id: &str) -> SharedSocket {
        let mut opening = pin!(handle.open_server(id));
        for _ in 0..TURNS {
            let polled = opening.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(opened) = polled {
                return opened.expect("nobody else has it");
            }
            self.engine.turn().unwrap();
        }
        panic!("it does not open");
    }
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// Lets a message come to each in one batch, and all wait; the index of the one that is woken.
fn one_is_woken(
    engine: &mut SimulatedEngine,
    net: &SimNet,
    peers: &[PeerId],
    readings: &[Reading<'_>],
) -> usize {
    for peer in peers {
        assert!(net.peer_write(*peer, &frame(FIN | TEXT, b"hello")));
    }
    for _ in 0..TURNS {
        engine.turn().unwrap();
        let woken: Vec<usize> = (0..SOCKETS).filter(|index| readings[*index].is_woken()).collect();
        if let [first] = woken[..] {
            return first;
        }
        assert_eq!(woken, [0; 0], "more than one was woken by the shard");
    }
    panic!("nobody was woken");
}

#[test]
fn the_first_wakes_the_others_with_its_next_verb() {
    let Bench { mut engine, net, peers, mut sockets } = Bench::new();
    let mut readings: Vec<_> = sockets.iter_mut().map(Reading::new).collect();
    let first = one_is_woken(&mut engine, &net, &peers, &readings);
    assert!(readings[first].poll().is_ready());
    assert!(readings.iter().all(Reading::is_woken));
    assert!(readings.iter_mut().enumerate().all(|(at, r)| at == first || r.poll().is_ready()));
}

#[test]
fn the_first_wakes_the_others_when_it_goes() {
    let Bench { mut engine, net, peers, mut sockets } = Bench::new();
    let mut readings: Vec<_> = sockets.iter_mut().map(Reading::new).collect();
    let first = one_is_woken(&mut engine, &net, &peers, &readings);
    drop(readings.remove(first));
    assert!(readings.iter().all(Reading::is_woken));
}

#[test]
fn the_shard_wakes_those_whom_the_first_forgets() {
    let Bench { mut engine, net, peers, mut sockets } = Bench::new();
    let readings: Vec<_> = sockets.iter_mut().map(Reading::new).collect();
    one_is_woken(&mut engine, &net, &peers, &readings);
    let from = net.now();
    while !readings.iter().all(Reading::is_woken) {
        engine.turn().unwrap();
        let passed = net.now().since(from);
        assert!(passed < Duration::from_millis(20), "{passed:?}");
    }
}

#[test]
fn the_shard_wakes_them_when_the_first_connection_is_lost_and_when_it_ends() {
    let Bench { mut engine, net, peers, mut sockets } = Bench::new();
    let readings: Vec<_> = sockets.iter_mut().map(Reading::new).collect();
    let first = one_is_woken(&mut engine, &net, &peers, &readings);
    net.peer_reset(peers[first]);
    engine.turn().unwrap();
    assert!(readings.iter().all(Reading::is_woken));
    drop(readings);

    let Bench { mut engine, net, peers, mut sockets } = Bench::new();
    let readings: Vec<_> = sockets.iter_mut().map(Reading::new).collect();
    one_is_woken(&mut engine, &net, &peers, &readings);
    drop(engine);
    assert!(readings.iter().all(Reading::is_woken));
}
