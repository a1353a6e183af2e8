//! Routes that a file declares: shared sockets without a line of Rust.
//!
//! The handler lives for the handshake alone. Whatever is said goes through the control plane.

use crate::config::RouteSection;
use crate::{Error, MailboxPolicy, Opening, Refusal, RouteOptions, WebSocket, WebSocketServer};
use std::sync::Arc;
use std::time::Duration;

/// What the engine is told about a route.
pub(super) fn options(route: &RouteSection) -> RouteOptions {
    RouteOptions {
        mailbox: match route.mailbox.as_str() {
            "drop_oldest" => MailboxPolicy::DropOldest,
            "close" => MailboxPolicy::Close,
            _ => MailboxPolicy::StopReading,
        },
        session_timeout: Duration::from_millis(route.session_timeout_ms),
        session: route.session,
    }
}

pub(super) struct Declared(Arc<RouteSection>);

impl Declared {
    pub(super) fn new(route: Arc<RouteSection>) -> Self {
        Self(route)
    }
}

impl WebSocketServer for Declared {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(true);
        let mut offered = opening.subprotocols().iter();
        if let Some(name) = offered.find(|name| self.0.subprotocols.contains(name)).cloned() {
            // It was offered, so it can be chosen.
            let _ = opening.set_subprotocol(&name);
        }
        Ok(())
    }

    async fn server(&mut self, _ws: &mut WebSocket) -> Result<(), Error> {
        Ok(())
    }
}
