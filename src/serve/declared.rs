//! Routes that a file declares: shared sockets without a line of Rust.
//!
//! The handler lives for the handshake alone. Whatever is said goes through the control plane.

use crate::config::RouteSection;
use crate::{Error, MailboxPolicy, Opening, Refusal, RouteOptions, WebSocket, WebSocketServer};
use std::sync::Arc;
use std::time::Duration;

/// What the engine is told about a route. `origins` are allowed on all.
pub(super) fn options(route: &RouteSection, origins: &[String]) -> RouteOptions {
    let of_all = origins.iter().filter(|_| !route.origins.is_empty());
    RouteOptions {
        shared_connection: true,
        mailbox: match route.mailbox.as_str() {
            "drop_oldest" => MailboxPolicy::DropOldest,
            "close" => MailboxPolicy::Close,
            _ => MailboxPolicy::StopReading,
        },
        session_timeout: Duration::from_millis(route.session_timeout_ms),
        session: route.session,
        origins_allowed: route.origins.iter().chain(of_all).cloned().collect(),
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
