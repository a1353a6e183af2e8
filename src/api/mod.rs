//! What applications use: the handler trait, the WebSocket and its verbs, the engine.
//!
//! It translates between them and the engine: errors, data, callbacks. No state of a connection is
//! kept here, and nothing below knows of it.
#![forbid(unsafe_code)]

mod admission;
mod data;
mod engine;
mod error;
mod handle;
mod handler;
mod opening;
mod session;
mod shared;
mod signals;
mod websocket;

pub use data::{Data, Message};
pub use engine::{Drained, Engine, EngineBuilder};
pub use error::{Error, ReadError, WriteError};
pub use handle::EngineHandle;
pub use handler::{Closing, WebSocketServer};
pub use opening::{NotOffered, Opening};
pub use session::{RevokeError, Session, SessionError};
pub use shared::{Kept, OpenError, OpenOptions, OpenOrWriteError, SharedSocket};
pub use websocket::WebSocket;
