//! tokio-tungstenite. Answers are fed as long as messages are at hand and flushed once, which is
//! the best its `Sink` offers.

use futures_util::{FutureExt, SinkExt, StreamExt};
use ringwire_contenders::{Failure, MESSAGE_BYTES_MAX, Room, serve};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// Its default of 128 KiB for every connection is what its documentation advises against for
/// many connections; this costs nothing measurable in any scenario.
const READ_BUFFER_BYTES: usize = 16 * 1024;

fn main() -> Result<(), Failure> {
    let room = Room::<Message>::new();
    serve(move |stream| connection(stream, room.clone()))
}

async fn connection(stream: TcpStream, room: Room<Message>) -> Result<(), Failure> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut path = String::new();
    // The size of the refusal is the library's choice.
    #[allow(clippy::result_large_err)]
    let callback = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        match path.as_str() {
            "/echo" | "/broadcast" => Ok(response),
            _ => Err(refusal()),
        }
    };
    let socket = accept_hdr_async_with_config(stream, callback, Some(config)).await?;
    match path.as_str() {
        "/echo" => echo(socket).await,
        _ => broadcast(socket, room).await,
    }
}

fn refusal() -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), Failure> {
    loop {
        let at_hand = socket.next().now_or_never();
        let message = match at_hand {
            Some(message) => message,
            None => {
                socket.flush().await?;
                socket.next().await
            }
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                socket.feed(message).await?;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Ok(()),
        }
    }
}

async fn broadcast(
    mut socket: WebSocketStream<TcpStream>,
    room: Room<Message>,
) -> Result<(), Failure> {
    let mut member = room.join();
    let Some(mut heard) = member.heard.take() else { return Ok(()) };
    loop {
        tokio::select! {
            said = socket.next() => match said {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => member.say(&message),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            Some(message) = heard.recv() => {
                socket.feed(message).await?;
                while let Ok(message) = heard.try_recv() {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
        }
    }
}
