//! Who may ask: the checks that every request passes before anything looks at what it wants.
//!
//! In order: the host it was sent to (a page whose name was bound to our address again is not
//! ours), the page it comes from, the token. Nothing of the body is read before. There are no CORS
//! headers, so that a foreign page cannot even look at an answer. Load balancers send any name, or
//! none, when they ask whether the server is well: that is told to everybody.

use super::error::{ApiError, shown};
use super::limits::{REMEDIES_PER_SECOND_MAX, WRONG_TOKENS_PER_SECOND_MAX};
use super::routes::is_options_of_all;
use super::tokens::{Access, Tokens};
use crate::proto::origin::{Authority, is_same_host};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method, Uri, Version};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Paths that need no token: a page without data, and two words for load balancers.
const OPEN_PATHS: [&str; 3] = ["/", PROBE_PATHS[0], PROBE_PATHS[1]];

/// The two words, which are the same for everybody, whatever name they were asked under.
const PROBE_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Over TCP, at this address of ours.
    Tcp(IpAddr),
    /// Over the Unix socket, which only this user can open.
    Unix,
}

/// Admits requests, or does not.
pub(super) struct Guard {
    tokens: Tokens,
    hosts: Vec<String>,
    wrong_tokens: Rate,
    /// Lines of the log about hosts and origins that were refused.
    remedies: Rate,
}

impl Guard {
    pub(super) fn new(tokens: Tokens, hosts: Vec<String>) -> Self {
        let canonical = |host: String| host.trim_end_matches('.').to_ascii_lowercase();
        let hosts = hosts.into_iter().map(canonical).collect();
        Self { tokens, hosts, wrong_tokens: Rate::new(), remedies: Rate::new() }
    }

    /// What the caller may do, or why nothing. `None`: what needs no token.
    pub(super) fn admit(
        &self,
        door: Door,
        version: Version,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<Access>, ApiError> {
        let only_looks = matches!(*method, Method::GET | Method::HEAD);
        let asks = only_looks || *method == Method::OPTIONS;
        let probes = asks && PROBE_PATHS.contains(&uri.path()) || is_options_of_all(method, uri);
        let host = host_of(version, uri, headers, probes)?;
        if let (Door::Tcp(local), Some(host), false) = (door, host, probes) {
            self.check_host(host, local)?;
        }
        self.check_origin(host, headers)?;
        if door == Door::Unix {
            return Ok(Some(Access::Operator));
        }
        if probes || asks && OPEN_PATHS.contains(&uri.path()) {
            return Ok(None);
        }
        let access = self.access(headers)?;
        if access == Access::ReadOnly && !only_looks {
            return Err(ApiError::forbidden(
                "this token is read-only",
                "use the operator token for whatever opens, reads, writes or closes",
            ));
        }
        Ok(Some(access))
    }

    fn check_host(&self, host: &str, local: IpAddr) -> Result<(), ApiError> {
        let known = Authority::parse(host).is_some_and(|authority| {
            let name = authority.host.trim_end_matches('.').to_ascii_lowercase();
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            let address = bare.parse::<IpAddr>().map(|address| address.to_canonical());
            authority.is_loopback() || address == Ok(local) || self.hosts.contains(&name)
        });
        if known {
            return Ok(());
        }
        self.log_remedy(
            "a request for a name that is not the control plane's was refused; if the name is yours, \
             add it to admin.hosts",
        );
        Err(ApiError::forbidden(
            format!("the control plane is not `{}`", shown(host)),
            "ask 127.0.0.1 or localhost, or add the name to admin.hosts",
        ))
    }

    fn check_origin(&self, host: Option<&str>, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(origin) = single(headers, &ORIGIN)? else { return Ok(()) };
        if host.is_some_and(|host| is_same_host(origin, host)) {
            return Ok(());
        }
        self.log_remedy(
            "a page of a foreign origin was refused at the control plane; if it is its own page \
             behind a proxy, have the proxy pass Host on, and add that name to admin.hosts",
        );
        Err(ApiError::forbidden(
            format!("pages of `{}` may not use the control plane", shown(origin)),
            "open the status page at the address of the control plane itself; a proxy in front of it \
             has to pass Host on",
        ))
    }

    /// What the operator can do, in words that are the same for every peer.
    fn log_remedy(&self, remedy: &'static str) {
        if self.remedies.is_within(REMEDIES_PER_SECOND_MAX) {
            tracing::warn!(target: "ringwire::refusal", "{remedy}");
        }
    }

    fn access(&self, headers: &HeaderMap) -> Result<Access, ApiError> {
        let Some(field) = single(headers, &AUTHORIZATION)? else {
            return Err(ApiError::unauthorized("there is no token"));
        };
        let (scheme, token) = field.split_once(' ').unwrap_or((field, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(ApiError::unauthorized("the Authorization header is not of scheme Bearer"));
        }
        let access = self.tokens.access(token.trim_matches(' '));
        access.ok_or_else(|| match self.wrong_tokens.is_within(WRONG_TOKENS_PER_SECOND_MAX) {
            true => ApiError::unauthorized("the token is wrong"),
            false => ApiError::new(
                429,
                "too_many_requests",
                "too many wrong tokens in this second",
                "correct the token, then try again",
            )
            .retry_after_s(1),
        })
    }
}

/// The host a request was sent to: `:authority` of HTTP/2; `Host` of HTTP/1.1, or the host of the
/// target, which then counts instead (RFC 9112 §3.2.2). HTTP/1.0 need not name one: what asks like
/// that is a load balancer and no browser, so that no name can have been bound to us again. Nor need
/// what `probes` only.
fn host_of<'a>(
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    probes: bool,
) -> Result<Option<&'a str>, ApiError> {
    let field = single(headers, &HOST)?;
    let authority = uri.authority().map(|authority| authority.as_str());
    match (authority, field) {
        (Some(authority), Some(field)) if version >= Version::HTTP_2 && authority != field => {
            Err(ApiError::bad_request(
                "the request names two hosts",
                "send the same in :authority and in Host",
            ))
        }
        (None, None) if probes || version < Version::HTTP_11 => Ok(None),
        (Some(_), None) if version == Version::HTTP_11 && !probes => Err(no_host()),
        (Some(host), _) | (None, Some(host)) => Ok(Some(host)),
        (None, None) => Err(no_host()),
    }
}

fn no_host() -> ApiError {
    ApiError::bad_request("the request names no host", "send a Host header")
}

/// The only field of this name, as text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut fields = headers.get_all(name).iter();
    let field = fields.next();
    if fields.next().is_some() {
        let message = format!("there is more than one {name} header");
        return Err(ApiError::bad_request(message, "send it once"));
    }
    let text = field.map(|field| field.to_str()).transpose();
    text.map_err(|_| {
        ApiError::bad_request(format!("the {name} header is not ASCII text"), "correct it")
    })
}

/// Counts what happens in a second, roughly: a race between threads may cost a few counts.
pub(super) struct Rate {
    started: Instant,
    second: AtomicU64,
    count: AtomicU64,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), second: AtomicU64::new(0), count: AtomicU64::new(0) }
    }

    /// Counts one more, and says whether it is within the limit.
    pub(super) fn is_within(&self, per_second: u64) -> bool {
        let second = self.started.elapsed().as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.count.store(0, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed) < per_second
    }

    /// Whether this second has had its count already.
    pub(super) fn is_spent(&self, per_second: u64) -> bool {
        self.count.load(Ordering::Relaxed) >= per_second
            && self.second.load(Ordering::Relaxed) == self.started.elapsed().as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    const OPERATOR: Result<Option<Access>, u16> = Ok(Some(Access::Operator));
    const LOCAL: Door = Door::Tcp(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn guard() -> Guard {
        let tokens = Tokens::new("operator-token-0".into(), Some("read-only-token-0".into()));
        Guard::new(tokens, vec!["status.example.org".into()])
    }

    fn asked(
        door: Door,
        method: Method,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Option<Access>, u16> {
        asked_in(Version::HTTP_11, door, method, target, headers)
    }

    fn asked_in(
        version: Version,
        door: Door,
        method: Method,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Option<Access>, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header value"));
        }
        let uri = target.parse().expect("a target");
        let answer = guard().admit(door, version, &method, &uri, &map);
        answer.map_err(|error| error.into_response().status().as_u16())
    }

    #[test]
    fn a_host_is_ours_or_forbidden() {
        let get = |host| asked(LOCAL, Method::GET, "/", &[("host", host)]).err();
        for ours in [
            "localhost",
            "localhost:9002",
            "LOCALHOST.:9002",
            "ringwire.localhost:1",
            "127.0.0.1:9002",
            "127.1.2.3",
            "[::1]:9002",
            "[::ffff:127.0.0.1]:9002",
            "status.example.org",
        ] {
            assert_eq!(get(ours), None, "{ours}");
        }
        for foreign in
            ["evil.example", "localhost.evil.example", "192.0.2.1", "", "127.0.0.1.evil.example"]
        {
            assert_eq!(get(foreign), Some(403), "{foreign}");
            for path in PROBE_PATHS {
                assert!(asked(LOCAL, Method::GET, path, &[("host", foreign)]).is_ok(), "{foreign}");
            }
        }
        for (method, target) in [(Method::GET, "/readyz"), (Method::OPTIONS, "*")] {
            for host in [&[][..], &[("host", "www")]] {
                assert_eq!(asked(LOCAL, method.clone(), target, host), Ok(None), "{target}");
            }
        }
        assert_eq!(asked(LOCAL, Method::POST, "/readyz", &[("host", "www")]), Err(403));
        let elsewhere = Door::Tcp([192, 0, 2, 1].into());
        assert!(asked(elsewhere, Method::GET, "/", &[("host", "192.0.2.1:9002")]).is_ok());
        assert_eq!(asked(LOCAL, Method::GET, "/", &[]), Err(400));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(asked(LOCAL, Method::GET, "/", &twice), Err(400));
        let whole = "http://localhost:9002/";
        let http2 = |target, headers: &[(&'static str, &str)]| {
            asked_in(Version::HTTP_2, LOCAL, Method::GET, target, headers)
        };
        assert!(http2(whole, &[]).is_ok());
        assert_eq!(http2(whole, &[("host", "127.0.0.1")]), Err(400));
        assert_eq!(http2("http://evil.example/", &[]), Err(403));
        // In HTTP/1.1 the target's host counts, and a Host is sent beside it.
        let get = |target, host| asked(LOCAL, Method::GET, target, &[("host", host)]);
        assert!(get(whole, "evil.example").is_ok());
        assert_eq!(get("http://evil.example/", "localhost"), Err(403));
        assert_eq!(asked(LOCAL, Method::GET, whole, &[]), Err(400));
    }

    #[test]
    fn a_load_balancer_may_speak_http_1_0() {
        let asks = |method: Method, path, headers: &[(&'static str, &str)]| {
            asked_in(Version::HTTP_10, LOCAL, method, path, headers).err()
        };
        for path in OPEN_PATHS {
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert_eq!(asks(method.clone(), path, &[]), None, "{method} {path}");
            }
            let foreign = asks(Method::GET, path, &[("host", "evil.example")]);
            assert_eq!(foreign.is_none(), PROBE_PATHS.contains(&path), "{path}");
            assert_eq!(asks(Method::GET, path, &[("origin", "http://localhost")]), Some(403));
            assert_eq!(asks(Method::POST, path, &[]), Some(401));
        }
        assert_eq!(asks(Method::GET, "/v1/status", &[]), Some(401));
        assert_eq!(asks(Method::OPTIONS, "/v1/status", &[]), Some(401));
        let token = ("authorization", "Bearer operator-token-0");
        assert_eq!(asks(Method::GET, "/v1/status", &[token]), None);
    }

    #[test]
    fn a_host_in_the_settings_is_any_spelling_of_it() {
        let tokens = Tokens::new("operator-token-0".into(), None);
        let guard = Guard::new(tokens, vec!["Status.Example.org.".into()]);
        for host in ["status.example.org", "STATUS.example.org.:80", "status.example.org:"] {
            assert!(guard.check_host(host, [127, 0, 0, 1].into()).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_foreign_page_is_forbidden_at_every_door() {
        for door in [LOCAL, Door::Unix] {
            let from = |origin| {
                let headers = [("host", "localhost:9002"), ("origin", origin)];
                asked(door, Method::GET, "/readyz", &headers).err()
            };
            assert_eq!(from("http://localhost:9002"), None);
            for foreign in
                ["http://localhost:9001", "http://evil.example", "null", "https://localhost", ""]
            {
                assert_eq!(from(foreign), Some(403), "{foreign}");
            }
        }
    }

    #[test]
    fn a_token_opens_what_it_is_for() {
        let asks = |method: Method, path, token: &str| {
            let headers = [("host", "localhost"), ("authorization", token)];
            asked(LOCAL, method, path, &headers)
        };
        let status = "/v1/status";
        assert_eq!(asks(Method::GET, status, "Bearer operator-token-0"), OPERATOR);
        assert_eq!(asks(Method::POST, status, "bearer  operator-token-0"), OPERATOR);
        assert_eq!(
            asks(Method::GET, status, "Bearer read-only-token-0"),
            Ok(Some(Access::ReadOnly))
        );
        assert_eq!(asks(Method::POST, status, "Bearer read-only-token-0"), Err(403));
        assert_eq!(asks(Method::DELETE, status, "Bearer read-only-token-0"), Err(403));
        for wrong in ["Bearer", "Bearer x", "Basic operator-token-0", "operator-token-0"] {
            assert_eq!(asks(Method::GET, status, wrong), Err(401), "{wrong}");
        }
        let bare = [("host", "localhost")];
        assert_eq!(asked(LOCAL, Method::GET, status, &bare), Err(401));
        assert_eq!(asked(LOCAL, Method::POST, "/healthz", &bare), Err(401));
        assert_eq!(asked(LOCAL, Method::GET, "/nothing", &bare), Err(401));
        assert_eq!(asked(Door::Unix, Method::POST, status, &bare), OPERATOR);
    }

    #[test]
    fn a_rate_is_spent_until_its_second_is_over() {
        let rate = Rate::new();
        assert!(!rate.is_spent(1));
        rate.is_within(2);
        assert!(!rate.is_spent(2) && rate.is_spent(1));
        rate.is_within(2);
        assert!(rate.is_spent(2));
        // Of another second.
        rate.second.store(7, Ordering::Relaxed);
        assert!(!rate.is_spent(2));
    }

    #[test]
    fn many_wrong_tokens_are_told_so() {
        let guard = guard();
        let mut headers = HeaderMap::new();
        headers.append("authorization", "Bearer wrong-wrong-wrong".parse().expect("a value"));
        let status = |guard: &Guard| {
            guard.access(&headers).map_err(|error| error.into_response().status().as_u16())
        };
        let answers: Vec<_> = (0..1_000).map(|_| status(&guard)).collect();
        assert_eq!(answers[0], Err(401));
        assert!(answers.contains(&Err(429)));
        headers.insert("authorization", "Bearer operator-token-0".parse().expect("a value"));
        assert_eq!(guard.access(&headers).ok(), Some(Access::Operator));
    }
}
