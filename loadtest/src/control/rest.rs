//! HTTP/1.1 towards a control plane, as lean as a client can be: requests as bytes, answers found
//! in what has arrived, and one blocking connection that lists WebSockets.
//!
//! `pairs` and `writes` call it. It knows no ring, and of HTTP what kept-alive connections with
//! `Content-Length` bodies need (RFC 9112).

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// A control plane answers a question about itself within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for handlers to return after the last handshake.
const SETTLE_MAX: Duration = Duration::from_secs(20);
const SETTLE_TICK: Duration = Duration::from_millis(50);
const HEADERS_MAX: usize = 32;
const CHUNK_BYTES: usize = 256 * 1024;
/// What is shown of an answer that was not expected.
const SHOWN_BYTES_MAX: usize = 300;

/// An answer in the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'b> {
    pub status: u16,
    /// `Ringwire-Fence`.
    pub fence: Option<u64>,
    pub body: &'b [u8],
    /// Bytes of it in all.
    pub bytes: usize,
}

impl<'b> Answer<'b> {
    /// The answer at the front of `bytes`; `None` while it is incomplete.
    pub fn parse(bytes: &'b [u8]) -> Result<Option<Answer<'b>>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head_bytes) =
            head.parse(bytes).context("the control plane does not answer in HTTP/1.1")?
        else {
            return Ok(None);
        };
        let status = head.code.unwrap_or_default();
        let (mut body_bytes, mut fence) = (0, None);
        for header in head.headers.iter() {
            let number = || std::str::from_utf8(header.value).ok()?.parse::<u64>().ok();
            if header.name.eq_ignore_ascii_case("content-length") {
                body_bytes = number().context("an answer without a length")? as usize;
            } else if header.name.eq_ignore_ascii_case("ringwire-fence") {
                fence = number();
            }
        }
        let bytes_whole = head_bytes + body_bytes;
        let body = bytes.get(head_bytes..bytes_whole);
        Ok(body.map(|body| Answer { status, fence, body, bytes: bytes_whole }))
    }

    /// Says that it is not what was expected.
    pub fn unexpected(&self, what: &str) -> anyhow::Error {
        let shown = &self.body[..self.body.len().min(SHOWN_BYTES_MAX)];
        let text = String::from_utf8_lossy(shown);
        anyhow::anyhow!("{what} was answered {}: {}", self.status, text.escape_debug())
    }
}

/// Appends a `POST` to the path of a verb.
pub fn write_post(out: &mut Vec<u8>, id: &str, verb: &str, text: Option<&[u8]>) {
    out.extend_from_slice(b"POST /v1/websockets/");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"/");
    out.extend_from_slice(verb.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n");
    if text.is_some() {
        out.extend_from_slice(b"Content-Type: text/plain\r\n");
    }
    let body = text.unwrap_or_default();
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
}

#[derive(Deserialize)]
struct Page {
    websockets: Vec<Entry>,
    next_cursor: Option<String>,
    total: u64,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    route: Option<String>,
}

/// The ids of all WebSockets on `route`, of which there are to be `count`, unattended.
pub fn list_ids(socket: &Path, route: &str, count: u32) -> Result<Vec<String>> {
    let mut asker = Asker::connect(socket)?;
    let until = Instant::now() + SETTLE_MAX;
    let waiting = format!("/v1/websockets?status=unattended&limit=1&route={route}");
    loop {
        let found = asker.page(&waiting)?.total;
        if found == u64::from(count) {
            break;
        }
        ensure!(
            Instant::now() < until,
            "{found} WebSockets instead of {count} are unattended on {route}; it is to be a route \
             of mode \"shared\", and nobody else's"
        );
        thread::sleep(SETTLE_TICK);
    }
    let progress = crate::progress::bar(u64::from(count), "listing", false);
    let mut ids = Vec::with_capacity(count as usize);
    let mut cursor = None;
    loop {
        let after = cursor.map_or(String::new(), |cursor: String| format!("&cursor={cursor}"));
        let page = asker.page(&format!("/v1/websockets?limit=1000{after}"))?;
        let ours =
            page.websockets.into_iter().filter(|entry| entry.route.as_deref() == Some(route));
        ids.extend(ours.map(|entry| entry.id));
        progress.set_position(ids.len() as u64);
        let Some(next) = page.next_cursor else { break };
        cursor = Some(next);
    }
    progress.finish_and_clear();
    ensure!(ids.len() == count as usize, "{} ids of {count} WebSockets on {route}", ids.len());
    Ok(interleaved(ids))
}

/// Neighbours are of different shards then, as they are for anybody who learns of them one by one.
fn interleaved(ids: Vec<String>) -> Vec<String> {
    // The shard is in the third of the bytes that an id encodes: the same letters for one shard.
    let mut shards: Vec<(String, VecDeque<String>)> = Vec::new();
    let count = ids.len();
    for id in ids {
        let shard = id.get(2..4).unwrap_or_default().to_owned();
        match shards.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, of_shard)) => of_shard.push_back(id),
            None => shards.push((shard, VecDeque::from([id]))),
        }
    }
    let mut mixed = Vec::with_capacity(count);
    while mixed.len() < count {
        mixed.extend(shards.iter_mut().filter_map(|(_, of_shard)| of_shard.pop_front()));
    }
    mixed
}

/// A blocking connection for questions.
struct Asker {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Asker {
    fn connect(socket: &Path) -> Result<Asker> {
        let stream = UnixStream::connect(socket).with_context(|| {
            format!("cannot connect to the control plane at {}", socket.display())
        })?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Asker { stream, received: Vec::new() })
    }

    fn page(&mut self, target: &str) -> Result<Page> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).context("the control plane has gone")?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if let Some(answer) = Answer::parse(&self.received)? {
                if answer.status != 200 {
                    bail!(answer.unexpected("the list of WebSockets"));
                }
                let page = serde_json::from_slice(answer.body).context("the list is not JSON")?;
                self.received.drain(..answer.bytes);
                return Ok(page);
            }
            let count = self.stream.read(&mut chunk).context("no list of WebSockets came")?;
            ensure!(count > 0, "the control plane has closed the connection");
            self.received.extend_from_slice(&chunk[..count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_when_they_are_whole() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nRingwire-Fence: 7\r\n\r\nhelloHTTP";
        let whole = Answer { status: 200, fence: Some(7), body: b"hello", bytes: text.len() - 4 };
        assert_eq!(Answer::parse(text).unwrap(), Some(whole));
        for cut in 0..text.len() - 4 {
            assert_eq!(Answer::parse(&text[..cut]).unwrap(), None, "cut at {cut}");
        }
        let empty = Answer::parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!((empty.status, empty.body.len(), empty.bytes), (204, 0, 27));
        assert!(Answer::parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_says_how_long_its_body_is() {
        let mut out = Vec::new();
        write_post(&mut out, "id", "write", Some(b"hello"));
        let wanted = "POST /v1/websockets/id/write HTTP/1.1\r\nHost: localhost\r\n\
                      Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    #[test]
    fn neighbours_are_of_different_shards() {
        let ids = ["AAAx1", "AAAx2", "AABx3", "AACx4"].map(String::from).to_vec();
        assert_eq!(interleaved(ids), ["AAAx1", "AABx3", "AACx4", "AAAx2"]);
    }
}
