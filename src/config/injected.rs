//! Variables that a container runtime sets for a service whose name begins with `ringwire`.
//!
//! Kubernetes gives every pod of a namespace the addresses of its services, Docker those of linked
//! containers: `RINGWIRE_PORT=tcp://10.0.0.1:9001` for one that is called ringwire. Nobody has
//! written them, so they are no misspelt keys. [`layers`](super::layers) leaves them out. A
//! variable is one of them by its name *and* its value: `RINGWIRE_PORT=9001` is somebody's mistake.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// The names among `variables` that a runtime has set.
pub(super) fn names(variables: &BTreeMap<String, String>) -> Vec<String> {
    let found = variables.iter().filter(|(name, value)| is_injected(name, value, variables));
    found.map(|(name, _)| name.clone()).collect()
}

fn is_injected(name: &str, value: &str, variables: &BTreeMap<String, String>) -> bool {
    // Of a range of ports Docker tells both ends.
    let name = name.strip_suffix("_START").or_else(|| name.strip_suffix("_END")).unwrap_or(name);
    is_of_service(name, value) || is_of_port(name, value) || is_of_link(name, value, variables)
}

/// `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_HTTP`.
fn is_of_service(name: &str, value: &str) -> bool {
    let is_port = name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_");
    (name.ends_with("_SERVICE_HOST") && is_address(value)) || (is_port && is_number(value))
}

/// `…_PORT=tcp://10.0.0.1:9001`, and for each port `…_PORT_9001_TCP` with the same, and
/// `…_TCP_PROTO`, `…_TCP_PORT`, `…_TCP_ADDR`.
fn is_of_port(name: &str, value: &str) -> bool {
    if name.ends_with("_PORT") && is_url(value) {
        return true;
    }
    let Some((_, port)) = name.rsplit_once("_PORT_").filter(|_| !name.ends_with("_PORT")) else {
        // `…_PORT_9001_TCP_PORT`
        let whole = name.strip_suffix("_PORT").and_then(|name| name.rsplit_once("_PORT_"));
        return whole.is_some_and(|(_, port)| is_port_name(port)) && is_number(value);
    };
    match port.rsplit_once('_') {
        Some((port, "PROTO")) => is_port_name(port) && is_protocol(value),
        Some((port, "ADDR")) => is_port_name(port) && is_address(value),
        _ => is_port_name(port) && is_url(value),
    }
}

/// `RINGWIRE_NAME=/web/ringwire` and `RINGWIRE_ENV_…` of a linked container, which has a
/// `RINGWIRE_PORT` as well.
fn is_of_link(name: &str, value: &str, variables: &BTreeMap<String, String>) -> bool {
    let is_linked =
        |alias: &str| variables.get(&format!("{alias}_PORT")).is_some_and(|port| is_url(port));
    match (name.strip_suffix("_NAME"), name.split_once("_ENV_")) {
        (Some(alias), _) if value.starts_with('/') => is_linked(alias),
        (_, Some((alias, _))) => is_linked(alias),
        _ => false,
    }
}

/// `9001_TCP`
fn is_port_name(text: &str) -> bool {
    let parts = text.split_once('_');
    parts.is_some_and(|(port, protocol)| is_number(port) && PROTOCOLS.contains(&protocol))
}

fn is_number(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn is_protocol(text: &str) -> bool {
    PROTOCOLS.contains(&text.to_ascii_uppercase().as_str())
}

/// `tcp://10.0.0.1:9001`. Kubernetes writes IPv6 without and with brackets, as its version is.
fn is_url(text: &str) -> bool {
    let Some((protocol, address)) = text.split_once("://") else { return false };
    let bare = || {
        let parts = address.rsplit_once(':');
        parts.is_some_and(|(host, port)| is_address(host) && is_number(port))
    };
    is_protocol(protocol) && (address.parse::<SocketAddr>().is_ok() || bare())
}

#[cfg(test)]
mod tests {
    use super::super::keys::KEYS;
    use super::*;

    fn variables(text: &str) -> BTreeMap<String, String> {
        let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn what_kubernetes_sets_is_known() {
        let set = variables(
            "RINGWIRE_SERVICE_HOST=10.96.0.7
             RINGWIRE_SERVICE_PORT=9001
             RINGWIRE_SERVICE_PORT_WEBSOCKETS=9001
             RINGWIRE_SERVICE_PORT_CONTROL_PLANE=9002
             RINGWIRE_PORT=tcp://10.96.0.7:9001
             RINGWIRE_PORT_9001_TCP=tcp://10.96.0.7:9001
             RINGWIRE_PORT_9001_TCP_PROTO=tcp
             RINGWIRE_PORT_9001_TCP_PORT=9001
             RINGWIRE_PORT_9001_TCP_ADDR=10.96.0.7
             RINGWIRE_PORT_53_UDP=udp://10.96.0.7:53
             RINGWIRE_CONTROL_SERVICE_HOST=fd00::7
             RINGWIRE_CONTROL_SERVICE_PORT=9002
             RINGWIRE_CONTROL_PORT=tcp://[fd00::7]:9002
             RINGWIRE_CONTROL_PORT_9002_TCP=tcp://fd00::7:9002
             RINGWIRE_CONTROL_PORT_9002_TCP_ADDR=fd00::7
             RINGWIRE_ADMIN_LISTEN_SERVICE_HOST=10.96.0.8
             RINGWIRE_ADMIN_LISTEN_PORT_9002_TCP_PORT=9002
             RINGWIRE_LISTEN_PORT=sctp://10.96.0.9:1
             RINGWIRE_PORT_A_PORT=tcp://10.96.0.9:1
             RINGWIRE_PORT_A_PORT_80_TCP_PROTO=tcp",
        );
        assert_eq!(names(&set), set.keys().cloned().collect::<Vec<_>>());
    }

    #[test]
    fn what_docker_sets_for_a_link_is_known() {
        let set = variables(
            "RINGWIRE_NAME=/web/ringwire
             RINGWIRE_PORT=tcp://172.17.0.2:9001
             RINGWIRE_PORT_9001_TCP_START=tcp://172.17.0.2:9001
             RINGWIRE_PORT_9001_TCP_PORT_END=9002
             RINGWIRE_ENV_RUST_LOG=info
             RINGWIRE_SESSIONS_COOKIE_NAME=/web/ringwire-sessions-cookie
             RINGWIRE_SESSIONS_COOKIE_PORT=tcp://172.17.0.3:9001",
        );
        assert_eq!(names(&set), set.keys().cloned().collect::<Vec<_>>());
    }

    #[test]
    fn what_somebody_wrote_is_not_taken_for_that() {
        let set = variables(
            "RINGWIRE_PORT=9001
             RINGWIRE_PORTS=tcp://10.0.0.1:9001
             RINGWIRE_HOST=10.0.0.1
             RINGWIRE_SERVICE_HOST=ringwire.example.org
             RINGWIRE_SERVICE_PORT=http
             RINGWIRE_PORT_TCP=tcp://10.0.0.1:9001
             RINGWIRE_PORT_9001_HTTP=tcp://10.0.0.1:9001
             RINGWIRE_NAME=ringwire
             RINGWIRE_ENV_RUST_LOG=info
             RINGWIRE_LISTEN=0.0.0.0:9001
             RINGWIRE_SESSIONS_COOKIE_NAME=sid
             RINGWIRE_LISTN=0.0.0.0:9001",
        );
        assert_eq!(names(&set), Vec::<String>::new());
    }

    #[test]
    fn no_key_of_ours_looks_like_that() {
        for key in KEYS {
            let name = key.variable();
            for value in ["10.0.0.1", "9001", "tcp", "tcp://10.0.0.1:9001"] {
                assert!(!is_injected(&name, value, &BTreeMap::new()), "{name}");
            }
        }
    }
}
