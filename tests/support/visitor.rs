//! A handler that does with its session what the client says, and a browser that has a cookie.

use super::{Client, LONG, ON_PURPOSE, PATIENCE, Server, quick, text};
use ringwire::{
    EngineBuilder, Opening, Refusal, RouteOptions, SessionSettings, SessionValues, Settings,
    WebSocket, WebSocketServer,
};
use std::net::{SocketAddr, TcpStream};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Response;
use tungstenite::{Error, HandshakeError, Message};

/// At `/`, and without a session at `/plain`.
#[derive(Default)]
pub struct Visitor;

impl WebSocketServer for Visitor {
    /// `?login` sets the user and rotates, `?refuse` refuses; `?login+refuse` does both.
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        let failed = |_| Refusal::new(500, "the session failed");
        let query = opening.query().unwrap_or("").to_owned();
        if query.starts_with("login") {
            let session = opening.session().ok_or_else(|| Refusal::new(500, "no session"))?;
            session.with(|values| values.set("user", "ada")).await.map_err(failed)?;
            opening.rotate_session();
        }
        if query.ends_with("refuse") {
            return Err(Refusal::new(401, "not you"));
        }
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), ringwire::Error> {
        while let Ok(data) = ws.read(usize::MAX, LONG).await {
            let words: Vec<String> =
                data.as_text().unwrap_or("").split(' ').map(str::to_owned).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let answer = answer(ws, &words).await;
            ws.write(answer.unwrap_or_else(|error| format!("error: {error}"))).await?;
        }
        Ok(())
    }
}

async fn answer(ws: &mut WebSocket, words: &[&str]) -> Result<String, ringwire::Error> {
    let Some(session) = ws.session() else {
        return Ok(format!("no session, {:?}", ws.session_id()));
    };
    assert_eq!(ws.session_id(), Some(session.id()));
    Ok(match words {
        ["id"] => session.id(),
        ["get", key] => {
            let value = session.with(|values| values.get(key).map(str::to_owned)).await?;
            value.unwrap_or_else(|| "-".into())
        }
        ["set", key, value] => {
            let before = session.with(|values| values.set(*key, *value)).await?;
            before.unwrap_or_else(|| "-".into())
        }
        ["long", bytes] => {
            let value = "x".repeat(bytes.parse().expect("a number"));
            session.with(|values| values.set("long", value.clone())).await?;
            "ok".into()
        }
        ["many", count] => {
            let count: u32 = count.parse().expect("a number");
            let all = || (0..count).map(|index| (index.to_string(), ""));
            session.with(|values| *values = all().collect()).await?;
            "ok".into()
        }
        ["add", times] => {
            for _ in 0..times.parse().expect("a number") {
                session.with(add_one).await?;
            }
            "ok".into()
        }
        ["clear"] => session.with(|values| values.clear()).await.map(|()| "ok".into())?,
        ["rotate"] => session.rotate_at_next_handshake().await.map(|()| "ok".into())?,
        ["revoke"] => session.revoke().await?.to_string(),
        ["panic"] => {
            session
                .with(|values| {
                    values.set("user", "nobody");
                    std::panic::panic_any(ON_PURPOSE)
                })
                .await?
        }
        other => panic!("{other:?}"),
    })
}

fn add_one(values: &mut SessionValues) {
    let count = values.get("count").map_or(0, |count| count.parse().expect("a number")) + 1;
    values.set("count", count.to_string());
}

/// A server with [`Visitor`], on two shards.
pub fn serve(
    sessions: SessionSettings,
    more: impl FnOnce(EngineBuilder) -> EngineBuilder,
) -> Server {
    let settings = Settings { shards: 2, ..quick() };
    let options = RouteOptions { session: true, ..RouteOptions::default() };
    Server::start(settings, |builder| {
        let builder = builder.sessions(sessions).route("/plain", Visitor::default);
        more(builder.route_with("/", options, Visitor::default))
    })
}

/// Something that keeps the session cookie it was given.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    pub cookie: Option<String>,
}

impl Browser {
    /// One whose cookie was planted.
    pub fn with_cookie(value: &str) -> Self {
        Self { cookie: Some(format!("__Host-ringwire={value}")) }
    }

    pub fn value(&self) -> &str {
        let cookie = self.cookie.as_deref().expect("it has a cookie");
        cookie.strip_prefix("__Host-ringwire=").expect("the name of the cookie")
    }

    /// Connects; `true` if a new cookie came.
    pub fn connect(&mut self, address: SocketAddr, path: &str) -> (Client, bool) {
        self.try_connect(address, path).unwrap_or_else(|answer| panic!("refused: {answer:?}"))
    }

    /// The status of a refused handshake, and its `Retry-After`.
    pub fn refused(&self, address: SocketAddr, path: &str) -> (u16, String) {
        let answer = self.clone().try_connect(address, path).expect_err("refused");
        assert!(answer.headers().get("set-cookie").is_none(), "a refusal sets no cookie");
        let retry = answer.headers().get("retry-after");
        let retry = retry.map_or("", |value| value.to_str().expect("ASCII"));
        (answer.status().as_u16(), retry.to_owned())
    }

    /// Connects, or returns the refusal.
    pub fn try_connect(
        &mut self,
        address: SocketAddr,
        path: &str,
    ) -> Result<(Client, bool), Box<Response>> {
        let mut request = format!("ws://{address}{path}").into_client_request().expect("a URL");
        if let Some(cookie) = &self.cookie {
            request.headers_mut().insert("cookie", cookie.parse().expect("a header value"));
        }
        let stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        let (client, answer) = match tungstenite::client(request, stream) {
            Ok(connected) => connected,
            Err(HandshakeError::Failure(Error::Http(answer))) => return Err(answer),
            Err(other) => panic!("no answer: {other}"),
        };
        let mut cookies = answer.headers().get_all("set-cookie").iter();
        let cookie = cookies.next().map(|cookie| cookie.to_str().expect("ASCII").to_owned());
        assert!(cookies.next().is_none(), "one cookie at most");
        let came = cookie.is_some();
        if let Some(cookie) = cookie {
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        Ok((client, came))
    }
}

/// Says something and returns the answer.
pub fn ask(client: &mut Client, question: &str) -> String {
    client.send(Message::text(question)).expect("it listens");
    text(client)
}

/// Waits for a future that needs no particular executor.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}
