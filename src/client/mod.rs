//! The client of the control plane: WebSockets of a ringwire server, driven from another process.
//!
//! It owns the connections to the control plane, the leases on what it has opened, and the rules
//! by which a lost request is repeated. Called by programs that link this crate, and by the shell
//! subcommands. It knows an engine by its HTTP interface alone: what it shares with one are the
//! types of messages and their buffers.
//!
//! The verbs are those of a handler. A program that answers what a socket has to say:
//!
//! ```no_run
//! use ringwire::client::{Client, ReadError};
//! use std::time::Duration;
//!
//! # async fn example(id: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("unix:/run/ringwire/control.sock").await?;
//! let mut socket = client.open_server(id).await?;
//! loop {
//!     match socket.read(32_656, Duration::from_secs(60)).await {
//!         Ok(data) => socket.write(data).await?,
//!         Err(ReadError::Timeout) => break,
//!         Err(error) => return Err(error.into()),
//!     }
//! }
//! socket.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is repeated when a connection is lost
//!
//! | verb | when its answer is lost |
//! |---|---|
//! | `read` | asked again: the request names the last piece that arrived, so none is lost or given twice |
//! | `write`, `write_to` | never sent again: [`ClientError::Lost`] says that it may have had its effect |
//! | `open_server` | asked again as the same attempt: the server gives the lease that it gave before |
//! | `end_server`, `close`, `interrupt`, `release`, renewals, lists | asked again: twice is as good as once |
//!
//! What certainly never left this process is sent again on another connection, whatever it is.
//! All of it ends after [`ClientBuilder::retry_for`].
//!
//! Futures of this module are to be polled on a tokio runtime with time and I/O.
#![forbid(unsafe_code)]

mod address;
mod calls;
mod connect;
mod errors;
mod events;
mod info;
mod query;
mod renewal;
mod socket;
mod sse;
mod transport;

pub use address::{Address, AddressError};
pub use calls::OpenOptions;
pub use connect::{Client, ClientBuilder};
pub use errors::{ClientError, OpenError, ReadError, Refused, WriteError};
pub use events::{Event, EventKind, EventQuery, Events};
pub use info::{Lease, RouteStatus, SocketInfo, SocketPage, Status};
pub use query::SocketQuery;
pub use socket::RemoteSocket;
