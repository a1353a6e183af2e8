//! A cookie session: it counts visits, remembers who has logged in over reconnects, gets a new cookie
//! at the login, and logs out everywhere at once.
//!
//! ```sh
//! cargo run --release --example session [-- ADDRESS]     # http://127.0.0.1:9001/ is a page for it
//! ```
//! `login ada` and the password `lovelace` in the next message log in; `logout` logs out, in all tabs.

use ringwire::{Engine, Error, Opening, READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT, Refusal};
use ringwire::{RouteOptions, Session, SessionError, SessionSettings, WebSocket, WebSocketServer};

const PAGE: &str = r#"<!doctype html><title>session</title><input autofocus><pre></pre><script>
const say = text => document.querySelector("pre").append(text + "\n");
function connect() {
  const ws = new WebSocket(location.origin.replace("http", "ws") + "/account");
  ws.onmessage = message => say(message.data);
  // 1012: there is a new cookie to be had. 1008: the session has ended, elsewhere perhaps.
  ws.onclose = close => { say(`closed: ${close.code} ${close.reason}`); setTimeout(connect, 500); };
  document.querySelector("input").onchange = event => { ws.send(event.target.value); event.target.value = ""; };
}
connect();
</script>"#;

/// A real program would ask its database, and for a hash.
fn is_password(user: &str, password: &str) -> bool {
    user == "ada" && password == "lovelace"
}

#[derive(Default)]
struct Account {
    visits: u32,
}

impl WebSocketServer for Account {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        let session = opening.session().ok_or_else(|| Refusal::new(500, "no session"))?;
        let visits = session.with(|values| {
            let visits = values.get("visits").and_then(|count| count.parse().ok()).unwrap_or(0) + 1;
            values.set("visits", visits.to_string());
            visits
        });
        self.visits = visits.await.map_err(|error| Refusal::new(503, error.to_string()))?;
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        let session = ws.session().ok_or_else(|| Error::new("the route has no session"))?;
        let user = user_of(&session).await?;
        ws.write(format!("visit {} of {user}", self.visits)).await?;
        while let Ok(said) = ws.read(READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT).await {
            let said = said.as_text().unwrap_or("").to_owned();
            if let Some(name) = said.strip_prefix("login ") {
                ws.write("password?").await?;
                let password = ws.read(READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT).await?;
                if !is_password(name, password.as_text().unwrap_or("")) {
                    ws.write("no").await?;
                    continue;
                }
                session.with(|values| values.set("user", name)).await?;
                // The session may do more now, so its cookie must change: with the next handshake,
                // for which the page is asked.
                session.rotate_at_next_handshake().await?;
                return ws.close(ringwire::CloseCode::SERVICE_RESTART, "connect again").await;
            }
            if said == "logout" {
                session.revoke().await?;
            } else {
                ws.write(format!("{} says {said}", user_of(&session).await?)).await?;
            }
        }
        Ok(())
    }
}

async fn user_of(session: &Session) -> Result<String, SessionError> {
    session.with(|values| values.get("user").unwrap_or("nobody").to_owned()).await
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let engine = Engine::builder()
        .listen(address.parse()?)
        // Plain ws:// here; behind TLS leave `secure` as it is.
        .sessions(SessionSettings { secure: false, ..SessionSettings::default() })
        .page("/", "text/html; charset=utf-8", PAGE.as_bytes())
        .route_with(
            "/account",
            RouteOptions { session: true, ..RouteOptions::default() },
            Account::default,
        )
        .drain_on_signal()
        .start()?;
    println!("listening on {}", engine.addresses()[0]);
    engine.join();
    Ok(())
}
