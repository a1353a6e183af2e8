//! Who may connect, decided before the handshake is answered: by cookie, origin and subprotocol.
//!
//! ```sh
//! cargo run --release --example auth [-- ADDRESS]
//! npx wscat --connect ws://127.0.0.1:9001/ --subprotocol notes.v1 --header "Cookie: session=1f0c"
//! ```
//! Without the cookie the answer is 401, to a page of a foreign origin 403, without the subprotocol
//! 400. Programs such as `wscat` send no origin and pass.

use ringwire::{Engine, Error, Opening, READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT, Refusal};
use ringwire::{OriginPolicy, Settings, WebSocket, WebSocketServer};

const SUBPROTOCOL: &str = "notes.v1";
const APP: &str = "https://app.example.org";
const ADMIN_APP: &str = "https://admin.example.org";

/// What a login has handed out; a real program would ask its database.
fn user_of(session: &str) -> Option<&'static str> {
    match session {
        "1f0c" => Some("ada"),
        "77b2" => Some("admin"),
        _ => None,
    }
}

#[derive(Default)]
struct Notes {
    user: &'static str,
}

impl WebSocketServer for Notes {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        let session = opening.cookie("session");
        let user = session.and_then(user_of);
        self.user = user.ok_or_else(|| Refusal::new(401, "log in first"))?;
        // Origins that are not in the list below were refused before.
        if self.user == "admin" && opening.origin().is_some_and(|origin| origin != ADMIN_APP) {
            return Err(Refusal::new(403, "admins come from the pages of the administration"));
        }
        opening
            .set_subprotocol(SUBPROTOCOL)
            .map_err(|_| Refusal::new(400, "offer the subprotocol notes.v1"))?;
        let seen = opening.add_header("Set-Cookie", "seen=1; HttpOnly; Secure; SameSite=Lax");
        seen.map_err(|error| Refusal::new(500, error.to_string()))
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        ws.write(format!("welcome, {}", self.user)).await?;
        while let Ok(note) = ws.read(READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT).await {
            ws.write(format!("{}: {}", self.user, note.as_text().unwrap_or("?"))).await?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let allowed = vec![APP.to_owned(), ADMIN_APP.to_owned()];
    let origins = OriginPolicy { allowed, required: false };
    let engine = Engine::builder()
        .settings(Settings { origins, ..Settings::default() })
        .listen(address.parse()?)
        .route("/", Notes::default)
        .drain_on_signal()
        .start()?;
    println!("listening on {}", engine.addresses()[0]);
    engine.join();
    Ok(())
}
