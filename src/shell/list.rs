//! `ls` and `status`: what there is.

use super::{connect, harmless, show, show_json};
use crate::Failure;
use crate::cli::{LsCommand, SocketStatus, StatusCommand};
use ringwire::client::{SocketInfo, SocketQuery, Status};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Rows of a page at most; sorted pages are smaller.
const PAGE: u64 = 1_000;
const PAGE_SORTED: u64 = 500;

pub(super) async fn ls(command: &LsCommand) -> Result<u8, Failure> {
    let client = connect(&command.reach).await?;
    let page_max = if command.sort.is_some() { PAGE_SORTED } else { PAGE };
    let mut left = if command.limit == 0 { u64::MAX } else { command.limit };
    let mut query = SocketQuery {
        route: command.route.clone(),
        status: command.status.map(|status| status_name(status).into()),
        search: command.search.clone(),
        sort: command.sort.clone(),
        descending: command.descending,
        ..SocketQuery::default()
    };
    let mut has_header = command.reach.json;
    loop {
        query.limit = u32::try_from(left.min(page_max)).ok();
        let page = client.sockets(&query).await?;
        let rows = &page.websockets;
        left = left.saturating_sub(rows.len() as u64);
        if !std::mem::replace(&mut has_header, true) && !show(HEADER.as_bytes())? {
            return Ok(0);
        }
        for row in rows {
            let goes_on = match command.reach.json {
                true => show_json(row)?,
                false => show(line_of(row).as_bytes())?,
            };
            if !goes_on {
                return Ok(0);
            }
        }
        let is_sorted = query.sort.is_some();
        match page.next_cursor {
            Some(cursor) if left > 0 && !is_sorted => query.cursor = Some(cursor),
            _ => return Ok(0),
        }
    }
}

fn status_name(status: SocketStatus) -> &'static str {
    match status {
        SocketStatus::Handshake => "handshake",
        SocketStatus::Websocket => "websocket",
        SocketStatus::Shared => "shared",
        SocketStatus::Unattended => "unattended",
        SocketStatus::Closing => "closing",
    }
}

const HEADER: &str = "\
ID                               STATUS      ROUTE            PEER                      IDLE  MESSAGES IN  OUT      WAITING\n";

fn line_of(row: &SocketInfo) -> String {
    let idle = duration(row.idle_ms);
    let peer = row.peer.as_deref().unwrap_or("-");
    let route = row.route.as_deref().unwrap_or("-");
    let SocketInfo { id, status, messages_in, messages_out, inbox_messages, .. } = row;
    let line = format!(
        "{id:32} {status:11} {route:16} {peer:21} {idle:>8}  {messages_in:>11}  {messages_out:<7}  {inbox_messages}"
    );
    format!("{}\n", harmless(&line).replace('\n', "\\n"))
}

/// Milliseconds for people.
fn duration(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms}ms"),
        s @ 1..60 => format!("{s}s"),
        s @ 60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        s => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
    }
}

pub(super) async fn status(command: &StatusCommand) -> Result<u8, Failure> {
    let client = connect(&command.reach).await?;
    let status = client.status().await?;
    match command.reach.json {
        true => show_json(&status)?,
        false => show(harmless(&table_of(&status)).as_bytes())?,
    };
    Ok(0)
}

fn table_of(status: &Status) -> String {
    let word = |yes: bool, name: &str| if yes { name.to_string() } else { format!("not {name}") };
    let mut text = format!(
        "ringwire {}, up {}, {}, {}{}\n{} connections",
        status.version,
        duration(status.uptime_ms),
        word(status.ready, "ready"),
        word(status.healthy, "healthy"),
        if status.draining { ", draining" } else { "" },
        status.connections,
    );
    // Formatting into a String cannot fail.
    let _ = match status.connections_max {
        Some(max) => writeln!(text, " of {max}"),
        None => writeln!(text),
    };
    text.push('\n');
    for route in &status.routes {
        let _ = writeln!(text, "{:9} {:>8} open  {}", route.mode, route.open, route.path);
    }
    let columns = ["connections", "opened", "closed", "refused", "messages_in", "messages_out"];
    let _ = write!(text, "\n{:7}", "shard");
    for column in columns {
        let _ = write!(text, " {column:>13}");
    }
    text.push('\n');
    let mut row = |name: &str, counters: &BTreeMap<String, Value>| {
        let _ = write!(text, "{name:7}");
        for column in columns {
            let value = counters.get(column).and_then(Value::as_u64).unwrap_or(0);
            let _ = write!(text, " {value:>13}");
        }
        text.push('\n');
    };
    for (number, shard) in status.shards.iter().enumerate() {
        row(&number.to_string(), shard);
    }
    row("all", &status.totals);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_without_a_request_is_a_row_as_well() {
        for route in [r#""route": null, "#, ""] {
            let told = format!(
                r#"{{"id": "x", {route}"status": "handshake", "peer": null, "session_id": null,
                    "timeout_ms": null, "lease": null}}"#
            );
            let row: SocketInfo = serde_json::from_str(&told).expect("it is optional");
            let line = line_of(&row);
            let columns: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(columns, ["x", "handshake", "-", "-", "0ms", "0", "0", "0"]);
        }
    }

    #[test]
    fn times_are_short() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (59_999, "59s"),
            (61_000, "1m01s"),
            (3_600_000, "1h00m"),
            (90_061_000, "25h01m"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
