//! Libraries that need tokio work inside a handler: here its timers, its sockets and `select!`.
//!
//! Every message is handed to a TCP service (which this program starts itself, and which writes
//! lines in capitals); a ticker writes in between.
//!
//! ```sh
//! cargo run --release --example tokio_inside [-- ADDRESS [TICK_SECONDS]]
//! npx wscat --connect ws://127.0.0.1:9001/
//! ```

use ringwire::{Engine, Error, READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT, WebSocket, WebSocketServer};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

struct Client {
    service: SocketAddr,
    tick: Duration,
}

impl WebSocketServer for Client {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        let mut ticker = tokio::time::interval(self.tick);
        ticker.tick().await; // The first is at once.
        let mut ticks = 0;
        loop {
            // The branch that loses loses nothing: its message is there for the next `read`.
            tokio::select! {
                message = ws.read(READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT) => {
                    let Ok(message) = message else { return Ok(()) };
                    let answer = self.ask(message.as_text().unwrap_or("?")).await?;
                    ws.write(answer).await?;
                }
                _ = ticker.tick() => {
                    ticks += 1;
                    ws.write(format!("tick {ticks}")).await?;
                }
            }
        }
    }
}

impl Client {
    async fn ask(&self, question: &str) -> Result<String, Error> {
        let mut stream = BufReader::new(TcpStream::connect(self.service).await?);
        let line = format!("{}\n", question.replace('\n', " "));
        stream.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        Ok(answer.trim_end().to_owned())
    }
}

/// The service: one line in, the same in capitals out.
async fn capitals(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let mut stream = BufReader::new(listener.accept().await?.0);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        stream.write_all(line.to_uppercase().as_bytes()).await?;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into()).parse()?;
    let tick = Duration::from_secs_f64(arguments.next().map_or(Ok(5.0), |text| text.parse())?);
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let service = listener.local_addr()?;
    let route = move || Client { service, tick };
    let engine = Engine::builder().listen(address).route("/", route).drain_on_signal().start()?;
    engine.runtime().spawn(async move {
        listener.set_nonblocking(true)?;
        capitals(TcpListener::from_std(listener)?).await
    });
    println!("listening on {}", engine.addresses()[0]);
    engine.join();
    Ok(())
}
