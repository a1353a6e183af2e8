//! fastwebsockets, with hyper for the handshake as its own example has it. It cannot say whether
//! more is at hand to read, so every answer is a write of its own; broadcasts are written together.

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ringwire_contenders::{Failure, MESSAGE_BYTES_MAX, Room, serve};
use tokio::io::BufWriter;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

/// Its limit is the first length that is too long.
const FRAME_BYTES_LIMIT: usize = MESSAGE_BYTES_MAX + 1;
const TOGETHER_BYTES: usize = 16 * 1024;

#[derive(Clone)]
struct Said {
    opcode: OpCode,
    bytes: Bytes,
}

fn main() -> Result<(), Failure> {
    let room = Room::<Said>::new();
    serve(move |stream| connection(stream, room.clone()))
}

async fn connection(stream: TcpStream, room: Room<Said>) -> Result<(), Failure> {
    let service = service_fn(move |request| answer(request, room.clone()));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    Ok(connection.with_upgrades().await?)
}

async fn answer(
    mut request: Request<Incoming>,
    room: Room<Said>,
) -> Result<Response<Empty<Bytes>>, Failure> {
    let path = request.uri().path().to_owned();
    if path != "/echo" && path != "/broadcast" {
        let refusal = Response::builder().status(StatusCode::NOT_FOUND);
        return Ok(refusal.body(Empty::new())?);
    }
    let (response, socket) = upgrade(&mut request)?;
    tokio::spawn(async move {
        let _ended = match path.as_str() {
            "/echo" => tokio::task::unconstrained(echo(socket)).await,
            _ => broadcast(socket, room).await,
        };
    });
    Ok(response)
}

async fn echo(socket: UpgradeFut) -> Result<(), Failure> {
    let mut socket = socket.await?;
    socket.set_max_message_size(FRAME_BYTES_LIMIT);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn broadcast(socket: UpgradeFut, room: Room<Said>) -> Result<(), Failure> {
    let mut socket = socket.await?;
    socket.set_max_message_size(FRAME_BYTES_LIMIT);
    let (reader, writer) = socket.split(|stream| {
        let (reader, writer) = tokio::io::split(stream);
        (reader, BufWriter::with_capacity(TOGETHER_BYTES, writer))
    });
    let mut reader = FragmentCollectorRead::new(reader);
    let mut member = room.join();
    let Some(heard) = member.heard.take() else { return Ok(()) };
    tokio::spawn(write(writer, heard));
    let own = member.own.clone();
    let mut owed = move |frame: Frame<'_>| {
        let said = Said { opcode: frame.opcode, bytes: Bytes::copy_from_slice(&frame.payload) };
        let _left = own.send(said);
        async { Ok::<(), Failure>(()) }
    };
    loop {
        let frame = reader.read_frame(&mut owed).await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                let bytes = Bytes::copy_from_slice(&frame.payload);
                member.say(&Said { opcode: frame.opcode, bytes });
            }
            _ => {}
        }
    }
}

async fn write<S>(
    mut writer: fastwebsockets::WebSocketWrite<S>,
    mut heard: UnboundedReceiver<Said>,
) -> Result<(), Failure>
where
    S: tokio::io::AsyncWrite + Unpin,
{
    while let Some(said) = heard.recv().await {
        let mut next = Some(said);
        while let Some(Said { opcode, bytes }) = next {
            // A vector is the only owned payload that the library's public interface takes here.
            let payload = Payload::Owned(bytes.to_vec());
            writer.write_frame(Frame::new(true, opcode, None, payload)).await?;
            next = heard.try_recv().ok();
        }
        writer.flush().await?;
    }
    Ok(())
}
