//! The client as a whole: where it connects, and with what. Programs begin here; what the client
//! then asks for is in [`calls`](super::calls) and [`events`](super::events).

use super::address::Address;
use super::calls::Inner;
use super::errors::ClientError;
use super::transport::Transport;
use hyper::header::HeaderValue;
use std::sync::Arc;
use std::time::Duration;

/// Reaches a control plane. Cloning is cheap, and clones share their connections.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

/// How a [`Client`] is to connect.
pub struct ClientBuilder {
    address: String,
    token: Option<String>,
    is_http2: bool,
    in_flight_max: usize,
    connect_timeout: Duration,
    retry_for: Duration,
}

impl Client {
    /// Connects to `unix:/path`, `HOST:PORT` or `http://HOST:PORT`, without a token.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`], also when `address` is none.
    pub async fn connect(address: &str) -> Result<Self, ClientError> {
        Self::builder(address).connect().await
    }

    /// A client to be configured.
    pub fn builder(address: &str) -> ClientBuilder {
        ClientBuilder {
            address: address.into(),
            token: None,
            is_http2: false,
            in_flight_max: 64,
            connect_timeout: Duration::from_secs(5),
            retry_for: Duration::from_secs(5),
        }
    }
}

impl ClientBuilder {
    /// The bearer token. Needed over TCP; over a Unix socket the permissions of the file suffice.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Whether to speak HTTP/2 over one connection (with prior knowledge) instead of HTTP/1.1 over
    /// several. Default: no.
    pub fn http2(mut self, is_http2: bool) -> Self {
        self.is_http2 = is_http2;
        self
    }

    /// Requests under way at most: connections of HTTP/1.1, streams of HTTP/2. At least 2, default
    /// 64. A quarter of them is kept from `read`s that wait for a peer; more `read`s than the rest
    /// take turns.
    pub fn in_flight_max(mut self, in_flight_max: usize) -> Self {
        self.in_flight_max = in_flight_max.clamp(2, 1 << 16);
        self
    }

    /// How long connecting may take. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// For how long a request is repeated that may be. Default: 5 s.
    pub fn retry_for(mut self, limit: Duration) -> Self {
        self.retry_for = limit;
        self
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`], also when the address or the token is none, and outside of a
    /// tokio runtime. A token that the server does not know is refused with the first request.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let unreachable = |cause: &dyn std::fmt::Display| ClientError::Unreachable {
            address: self.address.escape_debug().to_string(),
            cause: cause.to_string(),
        };
        tokio::runtime::Handle::try_current().map_err(|error| unreachable(&error))?;
        let address: Address = self.address.parse().map_err(|error| unreachable(&error))?;
        let authorization = match &self.token {
            None => None,
            Some(token) => {
                let value = HeaderValue::from_str(&format!("Bearer {token}"));
                // The error must not repeat the token.
                let mut value = value.map_err(|_| unreachable(&"no token has such letters"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let transport = Transport::new(
            address,
            authorization,
            self.connect_timeout,
            self.is_http2,
            self.in_flight_max,
        );
        transport.prepare().await?;
        Ok(Client { inner: Arc::new(Inner { transport, retry_for: self.retry_for }) })
    }
}
