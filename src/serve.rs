//! Binds the listeners and returns: the engine takes this place.

use crate::engine::listener::{self, BindError};
use crate::engine::settings::Settings;

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every connection was closed in time.
    Drained,
    /// The drain deadline passed and connections were cut.
    Cut,
}

/// Why serving did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl StartError {
    /// The exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bind(error) => error.exit_code(),
        }
    }
}

/// Serves until told to stop.
///
/// # Errors
/// A listener that cannot be bound.
pub fn run(settings: Settings) -> Result<Outcome, StartError> {
    let _listeners = listener::bind(&settings.listen, settings.shards)?;
    Ok(Outcome::Drained)
}
