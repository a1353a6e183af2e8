//! Every limit of the server that a peer or an application can meet, each with its unit and its
//! reason. What only memory meets stands beside its queue.
//!
//! A limit counts bytes *and* items wherever an item may weigh nothing. The defaults are those of
//! the table in the README; what a peer gets for passing one is said beside it.

use std::time::Duration;

/// Connections of one address (of an IPv6 network of 64 bits), and never more than half of all;
/// far above what the people behind one router need, and far below what a server takes. Proxies have
/// those of everybody, so they are to be listed as trusted. Passed: 429. By the same addresses
/// [`INBOX_GROWTH_BYTES_MAX`] is shared.
pub const CONNECTIONS_PER_ADDRESS_MAX: u16 = 1_024;

/// Bytes of a request head (request line and headers). Passed: 431.
pub const REQUEST_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Header fields of a request. Passed: 431. A browser sends fewer than 25.
pub const REQUEST_HEADERS_MAX: usize = 64;

/// Time for the whole request head, from accept on; bytes do not extend it. Passed: 408.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a message, all fragments together. Passed: close 1009, from the frame header alone.
pub const MESSAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Fragments of a message after the first (continuation frames); empty ones count. Passed: close
/// 1008. The Autobahn cases 9.3.1 and 9.4.1 send 65,536 and a first one.
pub const MESSAGE_FRAGMENTS_MAX: u32 = 65_536;

/// Bytes of a control frame's payload (RFC 6455 §5.5). Passed: close 1002.
pub const CONTROL_BYTES_MAX: usize = 125;

/// Bytes of the reason in a Close frame: a control frame less the code (RFC 6455 §5.5.1).
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Bytes of a connection in one batch of a shard. Passed: it receives shot by shot and in turn with
/// others of its kind, until it has been calm for a while. An eighth of the buffers of a shard.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Messages of a connection in one batch of a shard. Passed: the same. An eighth of a millisecond.
pub const BATCH_MESSAGES_MAX: usize = 1_024;

/// Bytes of one shot of a connection that receives shot by shot. The rest waits for its next turn.
pub const SHOT_BYTES_MAX: usize = 64 * 1024;

/// The same where messages are small, some thousands of which fit into so many bytes.
pub const SHOT_OF_SMALL_BYTES_MAX: usize = 16 * 1024;

/// Bytes of all shots of a batch for connections that passed [`BATCH_BYTES_MAX`]. The others of them
/// wait for the next batch: a quarter of the buffers, so that there are always some for who is calm.
pub const SHOTS_BYTES_MAX: usize = 512 * 1024;

/// Bytes of payload that wait in a connection's inbox before the engine takes no more from its
/// socket, unless a pending read asked for more. What came with the last of them, at most 16 KiB of
/// a message, is still taken. The memory is at most twice that, and 64 KiB for a message on its way.
pub const INBOX_BYTES_MAX: usize = 64 * 1024;

/// Messages that wait in a connection's inbox before the engine takes no more from its socket.
pub const INBOX_MESSAGES_MAX: usize = 1_024;

/// Bytes that one batch of receives has brought and that the inbox has no room for: they are kept as
/// they came, and taken in when there is room. What passes this counts as growth; passed together
/// with [`INBOX_GROWTH_BYTES_MAX`]: close 1013.
pub const REST_BYTES: usize = 128 * 1024;

/// What a message of a peer that has gone costs beside its payload, so that empty ones are not free.
pub const MESSAGE_COST_BYTES: usize = 64;

/// Bytes that all connections of a shard together may hold beyond [`INBOX_BYTES_MAX`] and
/// [`OUTBOX_HIGH_WATER_BYTES`] each: for long messages that are read whole, in the hands of handlers,
/// and on their way out. One connection gets a quarter of what the others have left, and what others
/// of its own address hold counts twice, so that one address gets half, however many connections it
/// has. Passed: it is read no further, and `write` waits.
pub const INBOX_GROWTH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Time for which a message may wait for room of the growth account. Passed: close 1013.
pub const GROWTH_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without a message either way, and without being opened, after which a shared socket is
/// closed (1001): the session timeout of a CSP application.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(900);

/// How long a shared socket stays held by a holder that has gone without saying so, where it set no
/// time.
pub const LEASE: Duration = Duration::from_secs(30);

/// Shared sockets of a shard that are gone and have left something to read. A crowd leaves at once
/// when a network goes, and every one of it may have said a word; with its tables such a socket costs
/// less than 1 KiB beside its messages. Passed: the oldest is given up, `lost` is told, and its id is
/// answered with 410.
pub const REMAINS_MAX: usize = 65_536;

/// What the messages may cost together that sockets of a shard have left. Passed: as above.
pub const REMAINS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long what a socket has left can be read. Passed: as above.
pub const REMAINS_TIME: Duration = Duration::from_secs(60);

/// Ids of a shard of which it is known that they were answered with 410: as many as can be given up in
/// one go. Passed: the oldest is unknown (404).
pub const EXPIRED_IDS_MAX: usize = 65_536;

/// Writes by id that wait for room in one shared socket. Passed: `WriteError::Full`.
pub const WAITING_WRITES_MAX: usize = 64;

/// Events that are kept for streams that come late or come back. Passed: a gap is told.
pub const EVENTS_KEPT_MAX: usize = 16_384;

/// Connections in one list. Passed: the rest is in the next one.
pub const LIST_ITEMS_MAX: usize = 1_000;

/// Connections that a sorted list leaves out at most, because each shard keeps as many to find those
/// behind them. Passed: no more are left out.
pub const LIST_OFFSET_MAX: usize = 10_000;

/// Bytes in a connection's outbox above which `write` waits for the peer. One message may start
/// below the mark and end above it, so an outbox holds at most this and one message.
pub const OUTBOX_HIGH_WATER_BYTES: usize = 64 * 1024;

/// Separate pieces in a connection's outbox above which `write` waits.
pub const OUTBOX_ITEMS_MAX: usize = 1_024;

/// Bytes in an outbox up to which every Ping of a batch is answered. Passed, and while a send is under
/// way: only the newest is, as RFC 6455 §5.5.3 allows.
pub const PONGS_BYTES_MAX: usize = 2 * 1024;

/// Payloads up to this many bytes are copied behind each other into one outbox buffer, so that
/// many small messages leave as one send; larger ones are sent from where they are.
pub const OUTBOX_COPY_BYTES_MAX: usize = 4 * 1024;

/// Silence after which the server sends a Ping.
pub const PING_INTERVAL: Duration = Duration::from_secs(25);

/// Time for any byte to arrive after a Ping, or for any byte of ours to get through where some are
/// still on their way to the peer. Passed: the connection is cut (1006 to the handler).
pub const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// Time in which the peer takes something of what was sent: as long as silence the other way lasts,
/// [`PING_INTERVAL`] and [`PONG_TIMEOUT`]. Passed: cut.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(35);

/// Time in which a message that has begun ends, or grows by [`MESSAGE_GROWTH_BYTES_MIN`]: a byte now
/// and then must not keep the beginning of a message in memory for ever. Passed: close 1008.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes that arrive within [`MESSAGE_TIMEOUT`] of a message that does not end in it: a slow modem.
pub const MESSAGE_GROWTH_BYTES_MIN: u32 = 64 * 1024;

/// Time for the peer to answer a Close frame and to close its end, since it last took something of
/// what was written before. Passed: cut.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the end of a connection in all, however often the peer takes something. Passed: cut.
pub const CLOSE_TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// Time for the peer to take something of a refusal or a page, and to close its end, before it is cut.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// Default of `read`'s `len`, in characters of text or bytes of binary (%CSP.WebSocket's 32656).
pub const READ_LEN_DEFAULT: usize = 32_656;

/// Default of `read`'s `timeout` (%CSP.WebSocket's 86400 seconds).
pub const READ_TIMEOUT_DEFAULT: Duration = Duration::from_secs(86_400);

/// Time without activity after which a session ends: %CSP.Session's 15 minutes. An open WebSocket
/// of the session is activity.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(900);

/// Age at which a session ends although it is used, so that a cookie that was stolen is not good for
/// ever: a day, as long as the longest `read`.
pub const SESSION_AGE_MAX: Duration = Duration::from_secs(86_400);

/// Bytes of all keys and values of a session. A session says who somebody is and where they were;
/// data belong into a database. Passed: the change is refused and nothing is changed.
pub const SESSION_BYTES_MAX: usize = 8 * 1024;

/// Values of a session, because an empty one weighs nothing. Passed: as above.
pub const SESSION_VALUES_MAX: usize = 64;

/// Sessions that the store in memory keeps; with [`SESSION_BYTES_MAX`] below 1 GiB. One is kept from its
/// first value on. Passed: that value is refused, and no other session notices.
pub const SESSIONS_MAX: usize = 100_000;

/// WebSockets that one session may have open, so that one cookie cannot take all connections and a
/// revocation is short. Passed: 429.
pub const SESSION_SOCKETS_MAX: usize = 256;

/// How often it is looked whether the sessions of open WebSockets still exist in their store. What
/// another process revokes is closed within twice this time.
pub const SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Time that a session store may take for one answer. Passed: 503 at the handshake.
pub const SESSION_STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of the log that wait to be written, some 4,000 access lines. Passed: lines are dropped and
/// counted.
pub const LOG_BYTES_MAX: usize = 1024 * 1024;

/// Lines of the log that wait to be written. Passed: as above.
pub const LOG_LINES_MAX: usize = 8_192;

/// Lines of the log per second for each thing that peers can cause, so that no stranger fills a disk
/// with them. Passed: they are counted, and the next line tells how many they were.
pub const LOG_LINES_PER_SECOND_MAX: u32 = 100;

/// How long a server that starts asks again for an address that is in use: the kernel gives back the
/// listeners of a process that was killed up to 0.1 s after it. Passed: exit code 69.
pub const ADDRESS_IN_USE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of the header of a server frame (RFC 6455 §5.2): 2, and 0, 2 or 8 of extended length.
pub const SERVER_FRAME_HEADER_BYTES_MAX: usize = 10;

const _: () = {
    assert!(CLOSE_REASON_BYTES_MAX == 123);
    assert!(OUTBOX_COPY_BYTES_MAX <= OUTBOX_HIGH_WATER_BYTES);
    assert!(READ_LEN_DEFAULT <= INBOX_BYTES_MAX);
    assert!(INBOX_BYTES_MAX as u64 <= MESSAGE_BYTES_MAX);
    assert!(STALL_TIMEOUT.as_secs() == PING_INTERVAL.as_secs() + PONG_TIMEOUT.as_secs());
    assert!(CLOSE_TIMEOUT.as_secs() < CLOSE_TIMEOUT_MAX.as_secs());
};
