//! The control peer: workers outside of the engine that hold shared sockets by their ids, echo what
//! they read, and die, come back, steal from each other, and ask twice.
//!
//! What a worker reads is the application's once it is acknowledged, and is echoed just before
//! that; the clients then see whether a message was lost, doubled or moved.

use ringwire::ring::sim::Dice;
use ringwire::{
    CloseCode, EngineHandle, Kept, MessageKind, OpenError, OpenOptions, ReadError, SharedSocket,
    WriteError,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// All workers, and what they share.
pub struct Control {
    world: Rc<World>,
    workers: Vec<Worker>,
    dice: Dice,
}

struct World {
    handle: EngineHandle,
    now_ms: Cell<u64>,
    /// When the next worker wants to go on that sleeps.
    next_ms: Rc<Cell<u64>>,
    sockets: RefCell<HashMap<String, Rc<Socket>>>,
    deaths: Cell<u64>,
    holders: Cell<u64>,
}

/// What the application knows of a socket, whoever holds it.
#[derive(Default)]
struct Socket {
    /// The highest fence that anybody was given.
    fence: Cell<u64>,
    /// The fence of a lease that somebody has left behind.
    detached: Cell<Option<u64>>,
    /// What was acknowledged of a message that is not complete.
    begun: RefCell<Vec<u8>>,
    over: Cell<bool>,
}

struct Worker {
    task: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
    sleeps_until_ms: Rc<Cell<u64>>,
    /// Between an echo and its acknowledgement nobody dies: what came of it could not be told.
    mortal: Rc<Cell<bool>>,
    id: String,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Control {
    /// `next_ms` tells when to look again, even if nothing happens.
    pub fn new(handle: EngineHandle, next_ms: Rc<Cell<u64>>, dice: Dice) -> Self {
        let world = World {
            handle,
            now_ms: Cell::new(0),
            next_ms,
            sockets: RefCell::default(),
            deaths: Cell::new(0),
            holders: Cell::new(0),
        };
        Self { world: Rc::new(world), workers: Vec::new(), dice }
    }

    /// One or more workers for a new socket.
    pub fn attend(&mut self, id: String) {
        let socket = Rc::new(Socket::default());
        self.world.sockets.borrow_mut().insert(id.clone(), Rc::clone(&socket));
        for _ in 0..self.dice.pick(&[1, 1, 2, 3]) {
            self.hire(&id, &socket);
        }
    }

    fn hire(&mut self, id: &str, socket: &Rc<Socket>) {
        let mortal = Rc::new(Cell::new(true));
        let sleeps_until_ms = Rc::new(Cell::new(u64::MAX));
        let work = Work {
            world: Rc::clone(&self.world),
            socket: Rc::clone(socket),
            id: id.to_owned(),
            dice: RefCell::new(Dice::new(self.dice.bits())),
            mortal: Rc::clone(&mortal),
            sleeps_until_ms: Rc::clone(&sleeps_until_ms),
        };
        let task = Box::pin(async move { work.run().await });
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.workers.push(Worker { task, woken, sleeps_until_ms, mortal, id: id.to_owned() });
    }

    /// Lets everybody go on who was woken or whose time has come; now and then one dies, and a
    /// new one takes its place.
    pub fn step(&mut self, now_ms: u64) {
        self.world.now_ms.set(now_ms);
        let mut died = Vec::new();
        let dice = &mut self.dice;
        self.workers.retain_mut(|worker| {
            let due = worker.sleeps_until_ms.get() <= now_ms;
            if worker.woken.0.swap(false, Ordering::Relaxed) || due {
                worker.sleeps_until_ms.set(u64::MAX);
                let waker = Waker::from(Arc::clone(&worker.woken));
                let polled = worker.task.as_mut().poll(&mut Context::from_waker(&waker));
                if polled.is_ready() {
                    return false;
                }
            }
            let dies = worker.mortal.get() && dice.chance(10);
            if dies {
                died.push(worker.id.clone());
            }
            !dies
        });
        self.world.deaths.set(self.world.deaths.get() + died.len() as u64);
        for id in died {
            let socket = Rc::clone(&self.world.sockets.borrow()[&id]);
            self.hire(&id, &socket);
        }
        let next = self.workers.iter().map(|worker| match worker.woken.0.load(Ordering::Relaxed) {
            true => now_ms,
            false => worker.sleeps_until_ms.get(),
        });
        self.world.next_ms.set(next.min().unwrap_or(u64::MAX));
    }

    /// Workers that have something to do yet.
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Deaths, and leases that were given, so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.world.deaths.get(), self.world.holders.get())
    }
}

/// One worker.
struct Work {
    world: Rc<World>,
    socket: Rc<Socket>,
    id: String,
    dice: RefCell<Dice>,
    mortal: Rc<Cell<bool>>,
    sleeps_until_ms: Rc<Cell<u64>>,
}

/// How the holding of a socket ended.
enum Left {
    /// It is to be held again.
    Again,
    /// There is nothing more to do.
    Done,
}

impl Work {
    async fn run(&self) {
        while !self.socket.over.get() {
            match self.open().await {
                Ok(socket) => match self.hold(socket).await {
                    Left::Again => {}
                    Left::Done => break,
                },
                Err(OpenError::Busy { .. } | OpenError::Fenced) => {}
                Err(OpenError::Unknown | OpenError::Expired) => break,
                Err(error) => panic!("{}: {error}", self.id),
            }
            let pause = self.dice.borrow_mut().pick(&[0, 1, 1, 5, 30]);
            self.sleep(pause).await;
        }
        self.socket.over.set(true);
    }

    async fn open(&self) -> Result<SharedSocket, OpenError> {
        let options = {
            let mut dice = self.dice.borrow_mut();
            let fence = self.socket.detached.get().filter(|_| dice.chance(700));
            OpenOptions {
                steal: dice.chance(150),
                lease: dice.chance(400).then(|| Duration::from_millis(dice.pick(&[1, 50, 300]))),
                fence,
                key: None,
            }
        };
        let socket = self.world.handle.open_server_with(&self.id, options).await?;
        match options.fence {
            Some(fence) => assert_eq!(socket.fence(), fence),
            None => {
                assert!(socket.fence() > self.socket.fence.get(), "{}: an old fence", self.id);
                self.world.holders.set(self.world.holders.get() + 1);
            }
        }
        self.socket.fence.set(socket.fence());
        self.socket.detached.set(None);
        Ok(socket)
    }

    /// Whoever succeeds must be the last who was given the socket.
    fn check_owner(&self, socket: &SharedSocket) {
        assert_eq!(socket.fence(), self.socket.fence.get(), "{}: two owners", self.id);
    }

    async fn hold(&self, mut socket: SharedSocket) -> Left {
        let mut last: Option<Kept> = None;
        let rounds = self.dice.borrow_mut().pick(&[1, 3, 20, 1_000]);
        for _ in 0..rounds {
            // What was read last is echoed, and acknowledged with the next read.
            self.mortal.set(false);
            match self.answer(&mut socket, last.as_ref()).await {
                Ok(true) => {}
                Ok(false) => return Left::Done,
                Err(WriteError::Fenced) => return self.leave(Left::Again),
                Err(WriteError::Closed) => return self.leave(Left::Done),
                Err(error) => panic!("{}: {error}", self.id),
            }
            let (len, timeout) = {
                let mut dice = self.dice.borrow_mut();
                (dice.pick(&[1_000_000, 32_656, 500, 7]), dice.pick(&[60_000, 1_000, 1]))
            };
            let read = {
                // Who comes back does not know what the one before was given: nothing is
                // acknowledged by its first read.
                let nothing = last.is_none().then_some(0);
                let timeout = Duration::from_millis(timeout);
                let mut read = pin!(socket.read_kept(len, timeout, nothing));
                let first = poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
                let fenced = matches!(first, Poll::Ready(Err(ReadError::Fenced)));
                if let Some(kept) = last.take().filter(|_| !fenced) {
                    self.acknowledged(&kept);
                }
                self.mortal.set(true);
                match first {
                    Poll::Ready(read) => read,
                    Poll::Pending => read.await,
                }
            };
            match read {
                Ok(kept) => {
                    self.check_owner(&socket);
                    last = Some(self.ask_again(&mut socket, kept).await);
                }
                Err(ReadError::Timeout) => self.check_owner(&socket),
                Err(ReadError::Fenced) => return Left::Again,
                Err(ReadError::Closed { .. }) => return Left::Done,
            }
            let pause = self.dice.borrow_mut().pick(&[0, 0, 0, 0, 0, 0, 0, 2, 40]);
            if pause > 0 {
                self.sleep(pause).await;
            }
        }
        // Gone without a word: what was not acknowledged is somebody else's.
        if self.dice.borrow_mut().chance(500) {
            self.socket.detached.set(Some(socket.detach()));
        }
        Left::Again
    }

    fn leave(&self, left: Left) -> Left {
        self.mortal.set(true);
        left
    }

    /// As after a lost answer: the same must come again.
    async fn ask_again(&self, socket: &mut SharedSocket, kept: Kept) -> Kept {
        if !self.dice.borrow_mut().chance(100) {
            return kept;
        }
        match socket.read_kept(9, Duration::ZERO, Some(kept.sequence - 1)).await {
            Ok(again) => {
                assert_eq!((again.sequence, again.at_end), (kept.sequence, kept.at_end));
                assert_eq!(&*again.data, &*kept.data, "{}", self.id);
                again
            }
            Err(ReadError::Fenced) => kept,
            Err(error) => panic!("{}: {error}", self.id),
        }
    }

    /// Echoes a message that is complete. `false`: it ends the conversation.
    async fn answer(
        &self,
        socket: &mut SharedSocket,
        last: Option<&Kept>,
    ) -> Result<bool, WriteError> {
        let Some(kept) = last.filter(|kept| kept.at_end) else { return Ok(true) };
        let mut whole = self.socket.begun.borrow().clone();
        whole.extend_from_slice(&kept.data);
        if kept.data.kind() == MessageKind::Binary {
            socket.write(whole).await?;
        } else {
            // Who was robbed in its sleep has the beginning of another message there.
            let Ok(text) = String::from_utf8(whole) else { return Err(WriteError::Fenced) };
            let code = match &*text {
                "exit" => CloseCode::NORMAL,
                "fail" | "panic" => CloseCode::INTERNAL_ERROR,
                _ => {
                    socket.write(text).await?;
                    self.check_owner(socket);
                    return Ok(true);
                }
            };
            return match socket.close(code, "").await {
                Ok(()) => Ok(false),
                Err(_) => Err(WriteError::Fenced),
            };
        }
        self.check_owner(socket);
        Ok(true)
    }

    fn acknowledged(&self, kept: &Kept) {
        let mut begun = self.socket.begun.borrow_mut();
        begun.extend_from_slice(&kept.data);
        if kept.at_end {
            begun.clear();
        }
    }

    async fn sleep(&self, pause_ms: u64) {
        let until_ms = self.world.now_ms.get() + pause_ms;
        let mut slept = false;
        poll_fn(|_| {
            if self.world.now_ms.get() >= until_ms && std::mem::replace(&mut slept, true) {
                return Poll::Ready(());
            }
            slept = true;
            self.sleeps_until_ms.set(until_ms);
            Poll::Pending
        })
        .await;
    }
}
