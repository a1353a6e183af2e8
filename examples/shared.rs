//! Sockets that outlive the code that accepted them: the asynchronous example of the
//! `%CSP.WebSocket` documentation.
//!
//! `on_pre_server` makes the socket a shared one and saves its id; `server` returns at once, and
//! the socket stays open although nobody attends to it. Elsewhere in the program, here in a thread
//! that knows nothing of the server but its handle, the ids are retrieved one after the other:
//! `open_server`, `read`, `write`, and `end_server` for those who said `exit`.
//!
//! ```sh
//! cargo run --release --example shared [-- ADDRESS]
//! npx wscat --connect ws://127.0.0.1:9001/csp/user/MyApp.MyWebSocketServer.cls
//! ```

use ringwire::{
    Closing, Engine, EngineHandle, Error, OpenError, Opening, ReadError, Refusal, WebSocket,
    WebSocketServer,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The ids of the open sockets: `^MyApp.Sockets`.
#[derive(Clone, Default)]
struct Ids(Arc<Mutex<BTreeSet<String>>>);

impl Ids {
    fn change<T>(&self, change: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct MyWebSocketServer {
    ids: Ids,
}

// Class MyApp.MyWebSocketServer Extends %CSP.WebSocket {
#[rustfmt::skip] // Each line stays beside that of the original.
impl WebSocketServer for MyWebSocketServer {
    async fn on_pre_server(                            // Method OnPreServer() As %Status
        &mut self, opening: &mut Opening,              // {
    ) -> Result<(), Refusal> {
        opening.set_shared_connection(true);           //     Set ..SharedConnection = 1
        let id = opening.websocket_id();               //     If ..WebSocketID '= "" {
        self.ids.change(|ids| ids.insert(id));         //         Set ^MyApp.Sockets(..WebSocketID) = "" }
        Ok(())                                         //     Quit $$$OK
    }                                                  // }

    async fn server(                                   // Method Server() As %Status
        &mut self, _: &mut WebSocket,                  // {
    ) -> Result<(), Error> {
        Ok(())                                         //     Quit $$$OK
    }                                                  // }

    async fn on_post_server(                           // Method OnPostServer() As %Status
        &mut self, closing: &Closing,                  // {
    ) {
        let id = closing.websocket_id.as_deref();      //     Kill ^MyApp.Sockets(..WebSocketID)
        self.ids.change(|ids| ids.remove(id.unwrap_or_default()));
    }                                                  //     Quit $$$OK
} // }

/// One look at one socket; how it goes on is for the next look.
#[rustfmt::skip]
async fn attend(handle: &EngineHandle, id: &str) -> Result<(), Error> {
    let mut ws = match handle.open_server(id).await {  // Set ws = ##class(%CSP.WebSocket).%New()
        Ok(ws) => ws,                                  // Set sc = ws.OpenServer(id)
        Err(OpenError::Unknown) => return Ok(()),      // If $$$ISERR(sc) Quit
        Err(error) => return Err(Error::new(error)),
    };
    loop {
        match ws.read(32_656, Duration::from_millis(20)).await {
            Ok(data) if data == "exit" =>              // Set data = ws.Read(.len, .sc, timeout)
                return ws.end_server().await,          // If data = "exit" Quit ws.EndServer()
            Ok(data) => ws.write(data).await?,         // Do ws.Write(data)
            Err(ReadError::Timeout) => return Ok(()),  // The next one's turn.
            Err(_) => return Ok(()),                   // If sc = CSPWebSocketClosed Quit
        }
    }
}

async fn attend_to_all(handle: EngineHandle, ids: Ids) {
    while handle.is_ready() {
        for id in ids.change(|ids| ids.clone()) {
            if let Err(error) = attend(&handle, &id).await {
                eprintln!("{id}: {error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into()).parse()?;
    let ids = Ids::default();
    let known = ids.clone();
    let engine = Engine::builder()
        .listen(address)
        .route("/csp/user/MyApp.MyWebSocketServer.cls", move || MyWebSocketServer {
            ids: ids.clone(),
        })
        .drain_on_signal()
        .start()?;
    println!("listening on {}", engine.addresses()[0]);
    let handle = engine.handle();
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(attend_to_all(handle, known));
        Ok::<(), std::io::Error>(())
    });
    engine.join();
    worker.join().map_err(|_| "the worker has failed")??;
    Ok(())
}
