//! Why a request head is refused, what answers it, and what the operator is told.

use thiserror::Error;

/// Why a request head was refused. The culprit is always the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The first byte begins no method.
    #[error("not an HTTP request")]
    NotHttp,
    /// A TLS hello.
    #[error("TLS on a plain port: connect with ws:// or http://, or to a proxy that ends TLS")]
    Tls,
    /// A header of the PROXY protocol, of version 1 or 2.
    #[error("the PROXY protocol is not spoken here: remove send-proxy (nginx: proxy_protocol)")]
    ProxyProtocol,
    /// The preface of HTTP/2.
    #[error("HTTP/2 is not spoken here: send HTTP/1.1 (HAProxy: no proto h2)")]
    Http2,
    /// A line that does not end in CR LF.
    #[error("line not ended by CR LF")]
    LineEnd,
    /// A control byte.
    #[error("control byte in the head")]
    ControlByte,
    /// A line that begins with white space.
    #[error("folded header line")]
    FoldedHeader,
    /// The first line is not `METHOD target HTTP/1.1`, or of 1.0.
    #[error("malformed request line")]
    RequestLine,
    /// The target is neither a path nor the URL of one, or holds a byte that no target may hold.
    #[error("malformed request target")]
    Target,
    /// `CONNECT host:port`.
    #[error("CONNECT is for proxies, and this is none")]
    Connect,
    /// A version of HTTP other than 1.1 and 1.0.
    #[error("HTTP version not supported")]
    Version,
    /// A line that is not `name: value`.
    #[error("malformed header line")]
    HeaderLine,
    /// A byte above 127 in a header that the handshake interprets.
    #[error("non-ASCII byte in a header that admits none")]
    HighByte,
    /// No `Host` (in HTTP/1.1), two of them, or one that names no host.
    #[error("missing, repeated or malformed Host")]
    Host,
    /// More bytes than a head may have.
    #[error("request head too long")]
    HeadTooLong,
    /// More header fields than a head may have.
    #[error("too many header fields")]
    TooManyHeaders,
}

impl RequestError {
    /// The HTTP status that answers it: 400, 431, 501 or 505.
    pub const fn status(self) -> u16 {
        match self {
            Self::HeadTooLong | Self::TooManyHeaders => 431,
            Self::Connect => 501,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// What the operator of the server is told, if it is likely to be a proxy of theirs.
    pub const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Tls => Some(
                "TLS on a plain port was refused: let the proxy in front end TLS and speak http to \
                 this one (nginx: proxy_pass http://, HAProxy: server without ssl)",
            ),
            Self::ProxyProtocol => Some(
                "the PROXY protocol was refused: the peer speaks it and this server does not; remove \
                 send-proxy (HAProxy) or proxy_protocol (nginx) from what points here",
            ),
            Self::Http2 => Some(
                "HTTP/2 was refused: the peer speaks it and this port does not; let the proxy in \
                 front speak HTTP/1.1 to it (HAProxy: server without proto h2)",
            ),
            _ => None,
        }
    }
}
