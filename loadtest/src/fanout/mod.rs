//! The fan-out run: what one member says, everybody hears.
//!
//! `cli` calls [`run`]. All members are on one ring (`room`), what they hear is sorted in
//! `hearing`; good clients may echo beside them (`bystander`).

mod hearing;
mod room;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use self::hearing::MARK_BYTES;
use self::room::Room;
use crate::bystander::Bystanders;
use crate::report::{Cost, Latency, Pace, is_generator_bound, print_costs, verdict};
use crate::subject::{self, Subject};

/// Time the good clients are measured alone, at most.
const ALONE_MAX: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    #[command(flatten)]
    pub subject: Subject,
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub subscribers: u32,
    /// Members that publish. What they hear counts as deliveries, but no message waits for it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub publishers: u32,
    /// Bytes of a text; the server may put something before it.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(MARK_BYTES as i64..=1 << 20))]
    pub bytes: u32,
    /// Messages per second of all publishers; without it every publisher sends the next when all
    /// have heard the last.
    #[arg(long, value_parser = subject::rate)]
    pub rate: Option<f64>,
    /// How a member joins.
    #[arg(long, value_enum, default_value_t = Join::None)]
    pub join: Join,
    /// Time to measure.
    #[arg(long, default_value = "5", value_parser = subject::seconds)]
    pub seconds: Duration,
    /// Time before measuring, in seconds.
    #[arg(long, default_value = "1", value_parser = subject::seconds)]
    pub warmup: Duration,
    /// An echo route for good clients, whose latency is measured before and meanwhile.
    #[arg(long)]
    pub echo_url: Option<String>,
    #[command(flatten)]
    pub bystanders: Bystanders,
}

/// How a member joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// The first message is the member's name, as on ringwire's /chat.
    Chat,
    /// Whoever is connected has joined.
    None,
}

/// What it came to. Costs are per delivery.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FanoutReport {
    pub label: String,
    pub url: String,
    pub subscribers: u32,
    pub publishers: u32,
    pub payload_bytes: u32,
    pub offered_per_second: Option<f64>,
    /// Of an offered rate: all but one in a hundred got through to everybody.
    pub reached: Option<bool>,
    pub seconds: f64,
    /// Messages that reached every subscriber.
    pub messages: u64,
    pub messages_per_second: f64,
    pub deliveries: u64,
    pub deliveries_per_second: f64,
    /// From sending a message to one subscriber's hearing it.
    pub delivery_us: Latency,
    /// From sending a message to the last subscriber's hearing it.
    pub last_delivery_us: Latency,
    /// Messages that had not reached everybody when the run gave up, and what they lacked.
    pub incomplete_messages: u64,
    pub missing_deliveries: u64,
    /// What members heard besides: joins, notices.
    pub other_messages: u64,
    pub echo_before_us: Option<Latency>,
    pub echo_meanwhile_us: Option<Latency>,
    pub client: Cost,
    pub server: Option<Cost>,
    pub generator_bound: bool,
    pub verdict: String,
}

/// Runs the plan.
pub fn run(plan: &Plan) -> Result<FanoutReport> {
    let target = plan.subject.target()?;
    let mut room = Room::open(plan, &target).map_err(|error| plan.subject.explain(error))?;
    measure(plan, &mut room).map_err(|error| plan.subject.explain(error))
}

fn measure(plan: &Plan, room: &mut Room) -> Result<FanoutReport> {
    let echo_url = plan.echo_url.as_deref();
    let before =
        echo_url.map(|url| plan.bystanders.watch(url, plan.seconds.min(ALONE_MAX))).transpose()?;
    let watch = echo_url.map(|url| plan.bystanders.start(url, plan.seconds)).transpose()?;
    let progress = crate::progress::timer(plan.warmup + plan.seconds, false);
    room.start(plan.rate)?;
    let warm = Instant::now() + plan.warmup;
    while Instant::now() < warm {
        room.turn()?;
    }
    let spent = plan.subject.spent()?;
    let started = Instant::now();
    room.hearing.begin(room.now_ns());
    let published_before = room.hearing.published();
    while started.elapsed() < plan.seconds {
        room.turn()?;
        let rate = room.hearing.deliveries as f64 / started.elapsed().as_secs_f64();
        progress.set_message(format!("{rate:.0} deliveries/s"));
        progress.set_position((plan.warmup + started.elapsed()).as_millis() as u64);
    }
    let seconds = started.elapsed().as_secs_f64();
    let (messages, deliveries) = (room.hearing.messages, room.hearing.deliveries);
    let sent = room.hearing.published() - published_before;
    let (client, server) = spent.costs(&plan.subject, deliveries, seconds)?;
    progress.finish_and_clear();
    let (incomplete_messages, missing_deliveries) = room.drain()?;
    ensure!(
        !room.hearing.delivery_ns.is_empty(),
        "nothing was delivered to a subscriber within the measured time; {} other messages, the last: {}",
        room.hearing.others,
        room.hearing.last_other
    );
    let meanwhile = watch.map(|watch| watch.finish()).transpose()?;
    room.leave()?;
    let rate = messages as f64 / seconds;
    let pace = plan.rate.map(|offered| Pace::of(offered, sent as f64 / seconds, rate));
    Ok(FanoutReport {
        label: plan.subject.label.clone(),
        url: plan.subject.url.clone(),
        subscribers: plan.subscribers,
        publishers: plan.publishers,
        payload_bytes: plan.bytes,
        offered_per_second: plan.rate,
        reached: pace.map(|pace| pace.reached),
        seconds,
        messages,
        messages_per_second: rate,
        deliveries,
        deliveries_per_second: deliveries as f64 / seconds,
        delivery_us: Latency::of(&room.hearing.delivery_ns),
        last_delivery_us: Latency::of(&room.hearing.last_ns),
        incomplete_messages,
        missing_deliveries,
        other_messages: room.hearing.others,
        echo_before_us: before,
        echo_meanwhile_us: meanwhile,
        generator_bound: is_generator_bound(&client, server.as_ref(), pace),
        verdict: verdict(&client, server.as_ref(), pace),
        client,
        server,
    })
}

impl FanoutReport {
    /// Prints for people.
    pub fn print(&self) {
        println!(
            "fan-out of {} bytes from {} to {} members, {:.2} s",
            self.payload_bytes, self.publishers, self.subscribers, self.seconds
        );
        println!(
            "{:<10}{:>10.0} deliveries/s, {:.1} messages/s; costs are per delivery",
            "rate", self.deliveries_per_second, self.messages_per_second
        );
        if let Some(offered) = self.offered_per_second {
            let reached = if self.reached == Some(true) { "reached" } else { "NOT REACHED" };
            println!("{:<10}{offered:>10.1} messages/s: {reached}", "offered");
        }
        self.delivery_us.print("delivery");
        self.last_delivery_us.print("the last");
        if self.incomplete_messages > 0 {
            println!(
                "{:<10}{:>10} deliveries of {} messages",
                "MISSING", self.missing_deliveries, self.incomplete_messages
            );
        }
        for (what, echo) in
            [("echo alone", &self.echo_before_us), ("echo then", &self.echo_meanwhile_us)]
        {
            if let Some(echo) = echo {
                echo.print(what);
            }
        }
        print_costs(&self.client, self.server.as_ref(), &self.verdict);
    }
}
