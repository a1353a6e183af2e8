//! Writes by id to many sockets through one HTTP/2 connection, with so many requests at once.
//!
//! The client is the crate `h2` on the calling thread; the WebSocket clients are `receivers`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use http::{Method, Request, Uri};
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::receivers::Receivers;
use super::rest;
use super::{Measured, WritesPlan, text};
use crate::handshake::Target;
use crate::report::histogram;

const TICK: Duration = Duration::from_millis(100);
const SILENCE_MAX: Duration = Duration::from_secs(10);
const DRAIN_MAX: Duration = Duration::from_secs(20);
/// What the server may send before it must ask: answers have next to no body.
const WINDOW_BYTES: u32 = 1 << 20;

/// Runs the plan.
pub fn run(plan: &WritesPlan, target: &Target) -> Result<Measured> {
    let (count, streams) = (plan.sockets, plan.streams);
    ensure!(count >= streams, "--sockets {count} is less than --streams {streams}");
    let receivers = Receivers::open(target, count, plan.run.bytes as usize)?;
    let ids = rest::list_ids(&plan.run.control, &target.path, count)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = LocalSet::new().block_on(&runtime, write(plan, &ids, &receivers));
    let measured = measured?;
    receivers.leave()?;
    Ok(measured)
}

/// What the writers share.
struct Desk {
    uris: Vec<Uri>,
    bytes: usize,
    stopping: Cell<bool>,
    /// Writes begun and answered since the start.
    begun: Cell<u64>,
    written: Cell<u64>,
    latency_ns: RefCell<Histogram<u64>>,
}

async fn write(plan: &WritesPlan, ids: &[String], receivers: &Receivers) -> Result<Measured> {
    let stream = UnixStream::connect(&plan.run.control).await?;
    let builder = h2::client::Builder::new()
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake::<_, Bytes>(stream);
    let (requests, connection) = builder.await.context("the control plane speaks no HTTP/2")?;
    let driver = tokio::task::spawn_local(connection);
    let uri = |id| Uri::try_from(format!("http://localhost/v1/websockets/{id}/write"));
    let desk = Rc::new(Desk {
        uris: ids.iter().map(uri).collect::<Result<_, _>>()?,
        bytes: plan.run.bytes as usize,
        stopping: Cell::new(false),
        begun: Cell::new(0),
        written: Cell::new(0),
        latency_ns: RefCell::new(histogram()?),
    });
    let begin = |_| tokio::task::spawn_local(Rc::clone(&desk).work(requests.clone()));
    let writers: Vec<_> = (0..plan.streams).map(begin).collect();
    let progress = crate::progress::timer(plan.run.warmup + plan.run.seconds, false);
    let watch = Watch { desk: &desk, receivers, writers: &writers };
    watch.until(Instant::now() + plan.run.warmup, |_| ()).await?;
    let (spent, started, before) = (plan.run.subject.spent()?, Instant::now(), desk.written.get());
    desk.latency_ns.borrow_mut().reset();
    watch
        .until(started + plan.run.seconds, |written| {
            let elapsed = started.elapsed();
            let rate = (written - before) as f64 / elapsed.as_secs_f64();
            progress.set_message(format!("{rate:.0} writes/s"));
            progress.set_position((plan.run.warmup + elapsed).as_millis() as u64);
        })
        .await?;
    let (seconds, operations) = (started.elapsed().as_secs_f64(), desk.written.get() - before);
    let (client, server) = spent.costs(&plan.run.subject, operations, seconds)?;
    let latency_ns = desk.latency_ns.borrow().clone();
    progress.finish_and_clear();
    desk.stopping.set(true);
    for writer in writers {
        writer.await??;
    }
    drop(requests);
    driver.abort();
    finish(&desk, receivers).await?;
    Ok(Measured { operations, seconds, latency_ns, client, server })
}

/// Waits until clients have got what was written.
async fn finish(desk: &Desk, receivers: &Receivers) -> Result<()> {
    let (written, until) = (desk.written.get(), Instant::now() + DRAIN_MAX);
    while receivers.received() < written {
        let received = receivers.received();
        ensure!(Instant::now() < until, "of {written} messages written {received} arrived");
        receivers.check()?;
        tokio::time::sleep(TICK).await;
    }
    ensure!(receivers.received() == written, "more messages arrived than were written");
    let (reached, wanted) = (receivers.reached(), written.min(desk.uris.len() as u64));
    ensure!(reached as u64 == wanted, "{reached} sockets were reached instead of {wanted}");
    receivers.check()
}

/// Looks after the writers.
struct Watch<'w> {
    desk: &'w Desk,
    receivers: &'w Receivers,
    writers: &'w [tokio::task::JoinHandle<Result<()>>],
}

impl Watch<'_> {
    async fn until(&self, until: Instant, mut show: impl FnMut(u64)) -> Result<()> {
        let mut active = (self.desk.written.get(), Instant::now());
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            tokio::time::sleep(TICK.min(until - now)).await;
            let written = self.desk.written.get();
            show(written);
            self.receivers.check()?;
            // Which one has failed is told when all are asked for the outcome.
            if self.writers.iter().any(tokio::task::JoinHandle::is_finished) {
                return Ok(());
            }
            if active.0 != written {
                active = (written, now);
            }
            ensure!(now - active.1 < SILENCE_MAX, "nothing was answered for {SILENCE_MAX:?}");
        }
    }
}

impl Desk {
    /// Writes to the next socket, again and again.
    async fn work(self: Rc<Self>, mut requests: SendRequest<Bytes>) -> Result<()> {
        let count = self.uris.len() as u64;
        while !self.stopping.get() {
            requests = requests.ready().await.context("the HTTP/2 connection was lost")?;
            let number = self.begun.replace(self.begun.get() + 1);
            let (socket, turn) = ((number % count) as usize, (number / count) as u32);
            let request = Request::builder()
                .method(Method::POST)
                .uri(self.uris[socket].clone())
                .header("content-type", "text/plain")
                .body(())?;
            let sent = Instant::now();
            let (answer, mut body) = requests.send_request(request, false)?;
            body.send_data(text(socket as u32, turn, self.bytes).into(), true)?;
            let answer = answer.await.context("a write was not answered")?;
            let status = answer.status();
            if status != 204 {
                let text = answer.into_body().data().await.transpose()?.unwrap_or_default();
                let text = String::from_utf8_lossy(&text).escape_debug().to_string();
                return Err(anyhow!("a write was answered {status}: {text}"));
            }
            self.latency_ns.borrow_mut().record(sent.elapsed().as_nanos() as u64)?;
            self.written.set(self.written.get() + 1);
        }
        Ok(())
    }
}
