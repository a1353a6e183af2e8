//! Section `[admin]`: the control plane.
//!
//! Owns the tokens until the control plane takes them, and sees to it that nothing prints one.
//! The program calls [`Admin::to_settings`] once, before anything starts.

use super::{Contradiction, written};
use crate::control::{self, is_token};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Bytes of a token file that are read: a token, and a line end.
const TOKEN_FILE_BYTES_MAX: u64 = 4_096;

/// Section `[admin]`: the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the table in `keys` says it, and `config --print-default` prints it"
)]
pub struct Admin {
    #[serde(with = "written::address_or_off")]
    pub listen: Option<SocketAddr>,
    #[serde(with = "written::path_or_empty")]
    pub control: Option<PathBuf>,
    pub token: Secret,
    #[serde(with = "written::path_or_empty")]
    pub token_file: Option<PathBuf>,
    pub read_only_token: Secret,
    #[serde(with = "written::path_or_empty")]
    pub read_only_token_file: Option<PathBuf>,
    pub hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some((Ipv4Addr::LOCALHOST, 9002).into()),
            control: None,
            token: Secret::default(),
            token_file: None,
            read_only_token: Secret::default(),
            read_only_token_file: None,
            hosts: Vec::new(),
        }
    }
}

/// A text that is not printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for whoever needs it; `None` if there is none.
    pub fn reveal(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.is_empty())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "(hidden)" })
    }
}

/// Why a file has no token to give: one line with the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be read.
    #[error("`{key}`: {path:?} cannot be read: {error}; name a file this user may read")]
    Unreadable {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Its first line is no token.
    #[error(
        "`{key}`: the first line of {path:?} is no token; write 16 to 256 letters, digits and -._~+/= there"
    )]
    NoToken {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The read-only token is the operator's.
    #[error(
        "`{key}`: it has the operator's token, so that whoever only looks could do everything; give another"
    )]
    Same {
        /// The key that gives the read-only token.
        key: &'static str,
    },
}

impl Admin {
    /// What the control plane is told; the token files are read.
    ///
    /// # Errors
    ///
    /// A token file that cannot be read or has no token, and one token for both.
    pub fn to_settings(&self) -> Result<control::Settings, TokenError> {
        let token = token_of("admin.token_file", &self.token, self.token_file.as_deref())?;
        let read_only_token = token_of(
            "admin.read_only_token_file",
            &self.read_only_token,
            self.read_only_token_file.as_deref(),
        )?;
        if token.is_some() && token == read_only_token {
            let key = match self.read_only_token_file {
                Some(_) => "admin.read_only_token_file",
                None => "admin.read_only_token",
            };
            return Err(TokenError::Same { key });
        }
        Ok(control::Settings {
            listen: self.listen,
            socket: self.control.clone(),
            token,
            read_only_token,
            hosts: self.hosts.clone(),
        })
    }

    /// The rules that tie the keys of this section together.
    pub(super) fn check(&self) -> Result<(), Contradiction> {
        let has_token = !self.token.0.is_empty() || self.token_file.is_some();
        if let Some(address) = self.listen.filter(|address| !address.ip().is_loopback())
            && !has_token
        {
            let message = format!(
                "`admin.listen` is {address}, where others can reach it; set admin.token_file, or \
                 listen on 127.0.0.1"
            );
            let keys = &["admin.listen", "admin.token_file", "admin.token"];
            return Err(Contradiction { keys, message });
        }
        if !self.token.0.is_empty() && self.token == self.read_only_token {
            let text = "`admin.read_only_token` is `admin.token`; it would not be read-only, so \
                        give another";
            let keys = &["admin.read_only_token", "admin.token"];
            return Err(Contradiction { keys, message: text.into() });
        }
        if self.token_file.is_some() && self.token_file == self.read_only_token_file {
            let text = "`admin.read_only_token_file` is `admin.token_file`; its token would not be \
                        read-only, so name another file";
            let keys = &["admin.read_only_token_file", "admin.token_file"];
            return Err(Contradiction { keys, message: text.into() });
        }
        let twice = "is set beside the token itself; keep one of them";
        if !self.token.0.is_empty() && self.token_file.is_some() {
            let message = format!("`admin.token_file` {twice}");
            return Err(Contradiction { keys: &["admin.token_file", "admin.token"], message });
        }
        if !self.read_only_token.0.is_empty() && self.read_only_token_file.is_some() {
            let message = format!("`admin.read_only_token_file` {twice}");
            let keys = &["admin.read_only_token_file", "admin.read_only_token"];
            return Err(Contradiction { keys, message });
        }
        Ok(())
    }
}

fn token_of(
    key: &'static str,
    secret: &Secret,
    file: Option<&Path>,
) -> Result<Option<String>, TokenError> {
    let Some(path) = file else {
        return Ok(Some(secret.0.clone()).filter(|token| !token.is_empty()));
    };
    let mut bytes = Vec::new();
    let file = File::open(path);
    // No more than that: the path may name something endless.
    file.and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| TokenError::Unreadable { key, path: path.into(), error })?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let token = text.lines().next().unwrap_or_default().trim();
    if !is_token(token) {
        return Err(TokenError::NoToken { key, path: path.into() });
    }
    Ok(Some(token.to_owned()))
}
