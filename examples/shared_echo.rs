//! An echo by a worker that is not a handler: it learns of sockets from the events, and holds each
//! as long as it lives. `/` is served by the worker's thread, `/dedicated` by handlers, to compare
//! the two.
//!
//! ```sh
//! cargo run --release --example shared_echo [-- ADDRESS [SHARDS]]
//! ```

use ringwire::{
    Engine, EngineHandle, Error, EventFilter, EventKind, EventStream, Opening,
    READ_TIMEOUT_DEFAULT, Refusal, WebSocket, WebSocketServer,
};

/// Leaves its socket to the worker.
struct Shared;

impl WebSocketServer for Shared {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(true);
        Ok(())
    }

    async fn server(&mut self, _: &mut WebSocket) -> Result<(), Error> {
        Ok(())
    }
}

/// Does it itself.
struct Dedicated;

impl WebSocketServer for Dedicated {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        while let Ok(data) = ws.read(usize::MAX, READ_TIMEOUT_DEFAULT).await {
            ws.write(data).await?;
        }
        Ok(())
    }
}

/// Echoes until the socket is closed.
async fn echo(handle: EngineHandle, id: String) -> Result<(), Error> {
    let mut ws = handle.open_server(&id).await.map_err(Error::new)?;
    while let Ok(data) = ws.read(usize::MAX, READ_TIMEOUT_DEFAULT).await {
        ws.write(data).await?;
    }
    Ok(())
}

async fn work(handle: EngineHandle, mut events: EventStream) {
    let local = tokio::task::LocalSet::new();
    let follow = async {
        while let Some(event) = events.next().await {
            let (handle, id) = (handle.clone(), event.websocket_id.to_string());
            tokio::task::spawn_local(async move {
                if let Err(error) = echo(handle, id).await {
                    eprintln!("{error}");
                }
            });
        }
    };
    local.run_until(follow).await;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into()).parse()?;
    let shards = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let engine = Engine::builder()
        .listen(address)
        .shards(shards)
        .route("/", || Shared)
        .route("/dedicated", || Dedicated)
        .drain_on_signal()
        .start()?;
    let handle = engine.handle();
    // Before anybody is told where to connect, so that no socket is missed.
    let kinds = vec![EventKind::Open];
    let events = handle.events(EventFilter { kinds, ..EventFilter::default() }, None);
    println!("listening on {}", engine.addresses()[0]);
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(work(handle, events));
        Ok::<(), std::io::Error>(())
    });
    engine.join();
    worker.join().map_err(|_| "the worker has failed")??;
    Ok(())
}
