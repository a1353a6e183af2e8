//! Cookie sessions: who a browser is, over many WebSockets and many processes.
//!
//! ```text
//! keeper ── admits at the handshake, rotates, revokes, watches
//!   ├── store   the trait behind which sessions are kept: memory (default), redis (feature)
//!   ├── age     how old a session may become
//!   ├── live    which open WebSockets belong to which session
//!   └── visit   one WebSocket's hold on its session
//! ```
//! The API calls it at the handshake of routes that ask for a session, and for `Session`'s verbs;
//! the engine keeps a [`Visit`] per socket that has one. It knows neither of them: sockets are keys
//! here, and what closes them is handed in. Routes without sessions never come here.
#![forbid(unsafe_code)]

mod age;
mod cookie;
mod id;
mod keeper;
mod live;
mod memory;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod settings;
mod store;
mod visit;
mod watch;

#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub use id::{NotAnId, SessionId};
pub(crate) use keeper::{Admission, NotAdmitted, SessionKeeper};
pub(crate) use live::SocketKey;
pub use memory::MemoryStore;
pub use record::{SessionRecord, SessionValues};
pub use settings::{SameSite, SessionSettings, SessionSettingsError};
pub use store::{Replaced, SessionStore, StoreCall, StoreError};
pub(crate) use visit::{Visit, VisitError};
