//! How values look in a file where serde would choose something else.
//!
//! Called by serde for the fields of [`Config`](super::Config). It has no opinion on what a value
//! may be.

/// Addresses as text, because that is how people write them.
pub(super) mod addresses {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(crate) fn serialize<A: Display, S: Serializer>(
        addresses: &[A],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(addresses.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, A: FromStr<Err = String>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<A>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

/// The kind of receive buffers as text.
pub(super) mod buffers {
    use crate::engine::ReceiveBuffers;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const NAMES: [(&str, ReceiveBuffers); 3] = [
        ("auto", ReceiveBuffers::Auto),
        ("incremental", ReceiveBuffers::Incremental),
        ("classic", ReceiveBuffers::Classic),
    ];

    pub(crate) fn serialize<S: Serializer>(
        buffers: &ReceiveBuffers,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let name =
            NAMES.iter().find(|(_, value)| value == buffers).map_or("auto", |(name, _)| name);
        serializer.serialize_str(name)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ReceiveBuffers, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = NAMES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        found.ok_or_else(|| D::Error::custom("expected auto, incremental or classic"))
    }
}

/// An address, or `off`.
pub(super) mod address_or_off {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::net::SocketAddr;

    pub(crate) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str("off"),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "off" => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}

/// A path, or nothing.
pub(super) mod path_or_empty {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::path::PathBuf;

    pub(crate) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // Only what came from text gets here, and so it is text.
        serializer.serialize_str(path.as_ref().and_then(|path| path.to_str()).unwrap_or_default())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok((!text.is_empty()).then(|| text.into()))
    }
}
