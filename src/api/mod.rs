//! What applications use: the handler trait, the WebSocket and its verbs, the engine.
#![forbid(unsafe_code)]

mod admission;
mod data;
mod engine;
mod error;
mod handler;
mod opening;
mod session;
mod signals;
mod websocket;

pub use data::{Data, Message};
pub use engine::{Drained, Engine, EngineBuilder, EngineHandle, RouteOptions};
pub use error::{Error, ReadError, WriteError};
pub use handler::{Closing, WebSocketServer};
pub use opening::{NotOffered, Opening};
pub use session::{RevokeError, Session, SessionError};
pub use websocket::WebSocket;
