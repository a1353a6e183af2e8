//! tokio-uring: what the runtime of that name makes of the same work, with the protocol of
//! sockudo-ws, which does no input and output of its own. Echo only.

use bytes::BytesMut;
use ringwire_contenders::{Failure, MESSAGE_BYTES_MAX, listen_address};
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
use sockudo_ws::protocol::Protocol;
use sockudo_ws::{Message, Role};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener, TcpStream};

const RING_ENTRIES: u32 = 4_096;
/// A read holds its buffer while it waits, so one at rest is small and one within a message large.
const READ_BYTES: usize = 8 * 1024;
const READ_ON_BYTES: usize = 256 * 1024;
const REQUEST_BYTES_MAX: usize = 16 * 1024;

fn main() -> Result<(), Failure> {
    let address = listen_address()?;
    tokio_uring::builder().entries(RING_ENTRIES).start(async move {
        let listener = TcpListener::bind(address)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio_uring::spawn(async move {
                // Clients leave as they like: how is no concern of a measurement.
                let _ended = connection(&stream).await;
            });
        }
    })
}

async fn connection(stream: &TcpStream) -> Result<(), Failure> {
    let mut input = BytesMut::new();
    if !shake_hands(stream, &mut input).await? {
        return Ok(());
    }
    let mut protocol = Protocol::new(Role::Server, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX);
    let (mut messages, mut output) = (Vec::new(), BytesMut::new());
    loop {
        protocol.process_into(&mut input, &mut messages)?;
        let mut closing = false;
        for message in messages.drain(..) {
            match message {
                Message::Text(_) | Message::Binary(_) => {
                    protocol.encode_message(&message, &mut output)?;
                }
                Message::Ping(payload) => protocol.encode_pong(&payload, &mut output),
                Message::Close(_) => {
                    protocol.encode_close_response(&mut output);
                    closing = true;
                }
                Message::Pong(_) => {}
            }
        }
        if !output.is_empty() {
            let (result, written) = stream.write_all(output).await;
            result?;
            output = written;
            output.clear();
        }
        if closing || !read(stream, &mut input).await? {
            return Ok(());
        }
    }
}

async fn shake_hands(stream: &TcpStream, input: &mut BytesMut) -> Result<bool, Failure> {
    while input.len() < REQUEST_BYTES_MAX {
        if let Some((request, consumed)) = parse_request(input)? {
            if request.path != "/echo" {
                return Err("no such route".into());
            }
            let response = build_response(&generate_accept_key(request.key), None, None);
            let _request = input.split_to(consumed);
            stream.write_all(response).await.0?;
            return Ok(true);
        }
        if !read(stream, input).await? {
            return Ok(false);
        }
    }
    Err("the request is too long".into())
}

/// Appends what comes; false at the end.
async fn read(stream: &TcpStream, input: &mut BytesMut) -> Result<bool, Failure> {
    input.reserve(if input.is_empty() { READ_BYTES } else { READ_ON_BYTES });
    let len = input.len();
    let (result, slice) = stream.read(std::mem::take(input).slice(len..)).await;
    *input = slice.into_inner();
    Ok(result? > 0)
}
