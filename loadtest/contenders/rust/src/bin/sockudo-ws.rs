//! sockudo-ws. Its stream writes what was fed before it waits for more to read, and its own
//! `PubSub` does the broadcast.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use ringwire_contenders::{Failure, MESSAGE_BYTES_MAX, serve};
use sockudo_ws::handshake::server_handshake;
use sockudo_ws::pubsub::PubSub;
use sockudo_ws::{Config, Message, Role, WebSocketStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;

const TOPIC: &str = "all";

fn main() -> Result<(), Failure> {
    let topics = Arc::new(PubSub::new());
    serve(move |stream| connection(stream, Arc::clone(&topics)))
}

async fn connection(mut stream: TcpStream, topics: Arc<PubSub>) -> Result<(), Failure> {
    let request = server_handshake(&mut stream).await?;
    let config = Config::builder()
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .idle_timeout(0)
        .auto_ping(false)
        .build();
    let socket =
        WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, request.leftover);
    match request.path.as_str() {
        "/echo" => echo(socket).await,
        "/broadcast" => broadcast(socket, topics).await,
        _ => Err("no such route".into()),
    }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), Failure> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.feed(message).await?;
        }
    }
    Ok(())
}

async fn broadcast(
    mut socket: WebSocketStream<TcpStream>,
    topics: Arc<PubSub>,
) -> Result<(), Failure> {
    let (sender, mut heard) = unbounded_channel();
    let member = topics.create_subscriber(sender);
    topics.subscribe(member, TOPIC);
    let result = loop {
        tokio::select! {
            said = socket.next() => match said {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    topics.publish(TOPIC, message);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error.into()),
                None => break Ok(()),
            },
            Some(message) = heard.recv() => {
                if let Err(error) = socket.feed(message).await {
                    break Err(error.into());
                }
                while let Ok(message) = heard.try_recv() {
                    // A failure shows itself in the flush.
                    let _failed = socket.feed(message).await;
                }
                if let Err(error) = socket.flush().await {
                    break Err(error.into());
                }
            }
        }
    };
    topics.remove_subscriber(member);
    result
}
