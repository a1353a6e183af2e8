//! `events`: what happens, until the reader has enough.

use super::{connect, harmless, show, show_json};
use crate::Failure;
use crate::cli::EventsCommand;
use ringwire::client::{Event, EventKind, EventQuery};
use serde_json::Value;

pub(super) async fn events(command: &EventsCommand) -> Result<u8, Failure> {
    let client = connect(&command.reach).await?;
    let mut events = client.events(EventQuery {
        route: command.route.clone(),
        types: command.types.clone(),
        after: command.after.clone(),
    });
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            _ = tokio::signal::ctrl_c() => return Ok(0),
        };
        let goes_on = match command.reach.json {
            true => show_json(&json_of(&event))?,
            false => show(format!("{}\n", line_of(&event)).as_bytes())?,
        };
        if !goes_on {
            return Ok(0);
        }
    }
}

fn name_of(event: &Event) -> &'static str {
    match event.kind {
        EventKind::Open => "open",
        EventKind::Readable => "readable",
        EventKind::Closed { .. } => "closed",
        EventKind::Lost => "lost",
        _ => "gap",
    }
}

/// What the server said, with its type and the id to go on from.
fn json_of(event: &Event) -> Value {
    let mut value = event.data.clone();
    if !value.is_object() {
        value = Value::Object(serde_json::Map::new());
    }
    value["event"] = name_of(event).into();
    value["event_id"] = event.id.clone().into();
    value
}

fn line_of(event: &Event) -> String {
    let Event { id, websocket_id, route, .. } = event;
    let mut line = format!("{id} {:8} {websocket_id} {route}", name_of(event));
    if let EventKind::Closed { code, reason, by } = &event.kind {
        line.push_str(&format!(" {code} by {by} {reason}"));
    }
    harmless(line.trim_end()).replace('\n', "\\n")
}
