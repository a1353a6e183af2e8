//! Routes that a file declares: shared sockets without a line of Rust.
//!
//! The handler lives for the handshake alone. Whatever is said goes through the control plane.

use crate::config::RouteSection;
use crate::{Error, Opening, Refusal, WebSocket, WebSocketServer};
use std::sync::Arc;

pub(super) struct Declared(Arc<RouteSection>);

impl Declared {
    pub(super) fn new(route: Arc<RouteSection>) -> Self {
        Self(route)
    }
}

impl WebSocketServer for Declared {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(true);
        let offered = opening.subprotocols().iter();
        let spoken = offered.cloned().find(|name| self.0.subprotocols.contains(name));
        if let Some(name) = spoken {
            // It was offered, so it can be chosen.
            let _ = opening.set_subprotocol(&name);
        }
        Ok(())
    }

    async fn server(&mut self, _ws: &mut WebSocket) -> Result<(), Error> {
        Ok(())
    }
}
