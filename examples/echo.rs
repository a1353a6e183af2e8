//! Every message goes back as what it was.
//!
//! ```sh
//! cargo run --release --example echo [-- ADDRESS]
//! npx wscat --connect ws://127.0.0.1:9001/
//! ```
//!
//! Ctrl-C drains: every client is told 1001 before the program ends.

use ringwire::{Engine, Error, READ_TIMEOUT_DEFAULT, WebSocket, WebSocketServer};

#[derive(Default)]
struct Echo;

impl WebSocketServer for Echo {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        // No message has this length, so that each is read whole.
        while let Ok(data) = ws.read(usize::MAX, READ_TIMEOUT_DEFAULT).await {
            ws.write(data).await?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let engine = Engine::builder()
        .listen(address.parse()?)
        .route("/*", Echo::default)
        .drain_on_signal()
        .start()?;
    println!("listening on {}", engine.addresses()[0]);
    engine.join();
    Ok(())
}
