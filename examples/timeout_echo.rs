//! The example class of `%CSP.WebSocket`, line by line: what it is in ObjectScript stands at the
//! right. It echoes, says so when nothing came for 10 seconds, and ends when it is told "exit".
//!
//! ```sh
//! cargo run --release --example timeout_echo [-- ADDRESS [TIMEOUT_SECONDS]]
//! npx wscat --connect ws://127.0.0.1:9001/csp/user/MyApp.MyWebSocketServer.cls
//! ```

use ringwire::{Closing, Engine, Error, Opening, ReadError, Refusal, WebSocket, WebSocketServer};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

struct MyWebSocketServer {
    timeout: Duration,
}

// Class MyApp.MyWebSocketServer Extends %CSP.WebSocket {
#[rustfmt::skip] // Each line stays beside that of the original.
impl WebSocketServer for MyWebSocketServer {
    async fn on_pre_server(                            // Method OnPreServer() As %Status
        &mut self, opening: &mut Opening,              // {
    ) -> Result<(), Refusal> {
        println!("a client asks for {}", opening.path());
        Ok(())                                         //     Quit $$$OK
    }                                                  // }

    async fn server(                                   // Method Server() As %Status
        &mut self, ws: &mut WebSocket,                 // {
    ) -> Result<(), Error> {                           //     Set timeout = 10
        loop {                                         //     For {
            match ws.read(32_656, self.timeout).await {
                                                       //         Set len = 32656
                                                       //         Set data = ..Read(.len, .sc, timeout)
                Err(ReadError::Timeout) =>             //         If $$$ISERR(sc), $$$GETERRORCODE(sc) = $$$CSPWebSocketTimeout {
                    ws.write(format!(                  //             Do ..Write("Server timed-out at "
                        "Server timed-out at {}",      //
                        horolog())).await?,            //                        _$Horolog) }
                Err(_) =>                              //         ElseIf $$$ISERR(sc), $$$GETERRORCODE(sc) = $$$CSPWebSocketClosed {
                    break,                             //             Quit }
                Ok(data) if data == "exit" =>          //         ElseIf data = "exit" {
                    break,                             //             Quit }
                Ok(data) =>                            //         Else {
                    ws.write(data).await?,             //             Do ..Write(data) }
            }
        }                                              //     }
        ws.end_server().await                          //     Quit ..EndServer()
    }                                                  // }

    async fn on_post_server(                           // Method OnPostServer() As %Status
        &mut self, closing: &Closing,                  // {
    ) {
        println!("the client left: {}", closing.code);
    }                                                  //     Quit $$$OK
} // }

/// Days since the end of 1840 and seconds of the day, in UTC: `$Horolog`.
fn horolog() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    format!("{},{}", 47_117 + now / 86_400, now % 86_400)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into()).parse()?;
    let timeout = Duration::from_secs_f64(arguments.next().map_or(Ok(10.0), |text| text.parse())?);
    let engine = Engine::builder()
        .listen(address)
        .route("/csp/user/MyApp.MyWebSocketServer.cls", move || MyWebSocketServer { timeout })
        .drain_on_signal()
        .start()?;
    println!("listening on {}", engine.addresses()[0]);
    engine.join();
    Ok(())
}
