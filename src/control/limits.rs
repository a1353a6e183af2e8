//! Every limit of the control plane, in one place, each with its unit and its reason.
//!
//! Whoever gets as far as a body has shown a token, or is this user; before that, only heads are
//! read. So these limits keep mistakes small, and the first ones strangers as well.

use crate::proto::limits;
use std::time::Duration;

/// Connections over TCP at once that have shown a token; a long poll over HTTP/1.1 holds one.
/// Passed: one without a request makes room; where there is none, 503 and closed.
pub(super) const TCP_CONNECTIONS_MAX: usize = 1_024;

/// Those of them that have shown the read-only token, so that operators have as many for
/// themselves. Passed: the same.
pub(super) const READ_ONLY_CONNECTIONS_MAX: usize = 512;

/// Connections over TCP at once that have shown no token: health checks, browsers that load the
/// page, and whoever else gets here. Passed: the oldest of the address that has most of them makes
/// room, one without a request if there is one; so nobody can keep others out by staying.
pub(super) const STRANGERS_MAX: usize = 256;

/// The same of one address (of IPv6: of one /64). Passed: the oldest of this address makes room.
pub(super) const STRANGERS_PER_ADDRESS_MAX: usize = 128;

/// Connections over the Unix socket at once. Passed: one without a request makes room; where there
/// is none, 503 and closed.
pub(super) const UNIX_CONNECTIONS_MAX: usize = 4_096;

/// Connections at once that there is no room for and that are told so. Passed: closed at once.
pub(super) const REFUSALS_MAX: usize = 64;

/// Time for one of them to hear it and leave. Passed: closed.
pub(super) const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests at once without a token on one HTTP/2 connection that has shown none. A browser's page
/// needs two. Passed: the stream is refused.
pub(super) const STRANGER_STREAMS_MAX: usize = 16;

/// Requests at once on one HTTP/2 connection: each long poll is one. Passed: the client waits, as
/// HTTP/2 provides for.
pub(super) const STREAMS_MAX: u32 = 1_024;

/// Bytes of a request's head. An id, a cursor and a token fit many times.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header fields of a request. Browsers send fewer than 25.
pub(super) const HEADERS_MAX: usize = 64;

/// Time for the first request of a connection; bytes do not extend it. Passed: closed.
pub(super) const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between the requests of a connection, be it HTTP/1.1 or HTTP/2. Longer than the 60 s for which a usual
/// client keeps an idle connection, so that the client is the one that closes and no request
/// crosses the close. Passed: closed.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Time for a client to take some of an answer, down to an event. It counts from the last piece that
/// it took, of [`PIECE_BYTES`] at most. Passed: its connection is closed, and with it what it holds.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a client to take leave of a connection that was idle for too long. Passed: closed.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for which a FIN right behind a request is not taken for the end of its client, which may
/// wait for the answer (`nc -N`). Passed: the request is given up.
pub(super) const FIN_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of an answer that are handed to a connection at once.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// Bytes of all answers that wait to be taken, apart from what is the same for everybody: messages
/// of [`BODY_BYTES_MAX`], lists of half a megabyte. Passed: 503.
pub(super) const ANSWERS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Those of them that went to the read-only token. Passed: 503.
pub(super) const READ_ONLY_ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Silence on an HTTP/2 connection before the client is asked whether it is still there.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Time for its answer. Passed: closed.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a body, which is a message: the engine's own default limit. Passed: 413.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of all bodies that are being read. Passed: 503.
pub(super) const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Time for a whole body. Passed: 408.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Milliseconds of one poll for a message: shorter than the silence after which proxies cut, which is
/// 50 s in the examples of HAProxy and 60 s with nginx and others. Asked for more: answered 408 then,
/// and the client polls again.
pub(super) const POLL_MS_MAX: u64 = 45_000;

/// Milliseconds a client may ask to read for: the 24 hours of `%CSP.WebSocket`.
pub(super) const READ_TIMEOUT_MS_MAX: u64 = 86_400_000;

/// Milliseconds a write waits for a slow peer unless it says otherwise. Passed: 503.
pub(super) const WRITE_WAIT_MS_DEFAULT: u64 = 10_000;

/// Milliseconds a write may ask to wait.
pub(super) const WRITE_WAIT_MS_MAX: u64 = 60_000;

/// Time after which a lease ends that nobody renewed, by any verb with its fence.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// Streams of events at once. Passed: 503. Each worker needs one, and each open status page.
pub(super) const EVENT_STREAMS_MAX: usize = 256;

/// Those of them that were opened with the read-only token, so that operators' workers have as many
/// for themselves. Passed: 503.
pub(super) const READ_ONLY_EVENT_STREAMS_MAX: usize = 128;

/// Silence on a stream of events before a comment says that it is alive. Below the 30 s after
/// which impatient proxies cut.
pub(super) const EVENT_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// WebSockets of one page of the list.
pub(super) const PAGE_ITEMS_MAX: u64 = limits::LIST_ITEMS_MAX as u64;

/// The same without a wish.
pub(super) const PAGE_ITEMS_DEFAULT: u64 = 100;

/// WebSockets of one page of a sorted list: all shards together keep as many as are skipped and
/// shown.
pub(super) const SORTED_ITEMS_MAX: u64 = 500;

/// WebSockets that a sorted list skips at most.
pub(super) const SORTED_OFFSET_MAX: u64 = limits::LIST_OFFSET_MAX as u64;

/// Time for the shards to answer a question about themselves. One that is stuck in a handler answers
/// nobody; then 503, so that an operator sees it instead of waiting.
pub(super) const SHARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an `Idempotency-Key`. A UUID in quotes has 38.
pub(super) const ATTEMPT_BYTES_MAX: usize = 128;

/// Bytes of a parameter such as `q` or `route`.
pub(super) const TEXT_BYTES_MAX: usize = 1_024;

/// Wrong tokens a second that are told 401. Passed: 429, which tells a guesser less and a
/// misconfigured client more.
pub(super) const WRONG_TOKENS_PER_SECOND_MAX: u64 = 50;

/// Lines of the log a second about names and pages that were refused. Passed: not told again.
pub(super) const REMEDIES_PER_SECOND_MAX: u64 = 1;

/// Unknown ids a second on one connection that are told 404: more than a busy worker meets whose
/// sockets close under its hands. Passed: 429 to every id until the second is over, to one that
/// lives as well, so that guessing on tells nothing.
pub(super) const UNKNOWN_IDS_PER_SECOND_MAX: u64 = 1_000;

/// The times of a connection. Tests have shorter ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) first_request: Duration,
    pub(super) idle: Duration,
    pub(super) answer: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { first_request: FIRST_REQUEST_TIMEOUT, idle: IDLE_TIMEOUT, answer: ANSWER_TIMEOUT }
    }
}

const _: () = assert!(READ_ONLY_CONNECTIONS_MAX <= TCP_CONNECTIONS_MAX);
const _: () = assert!(STRANGERS_PER_ADDRESS_MAX <= STRANGERS_MAX);
const _: () = assert!(READ_ONLY_EVENT_STREAMS_MAX <= EVENT_STREAMS_MAX);
const _: () = assert!(READ_ONLY_ANSWERS_BYTES_MAX <= ANSWERS_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX <= READ_ONLY_ANSWERS_BYTES_MAX);
const _: () = assert!(SORTED_ITEMS_MAX <= PAGE_ITEMS_MAX);
const _: () = assert!(BODY_BYTES_MAX <= BODIES_BYTES_MAX);
const _: () = assert!(POLL_MS_MAX <= READ_TIMEOUT_MS_MAX);
const _: () = assert!(IDLE_TIMEOUT.as_millis() > POLL_MS_MAX as u128);
