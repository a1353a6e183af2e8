//! Answers of the control plane in memory.

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use url::form_urlencoded;

pub type Body = BoxBody<Bytes, io::Error>;

/// What happens to a request beside being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before anything is done.
    Before,
    /// It is done, and the connection ends instead of the answer.
    After,
    /// Nothing is done, and it may be asked again in a second.
    Busy,
}

pub fn query_of(query: &str) -> HashMap<String, String> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

pub fn plain(status: u16, body: Value) -> Response<Body> {
    let answer = Response::builder().status(status);
    let answer = match body {
        Value::Null => answer.body(full("")),
        body => answer.header("content-type", "application/json").body(full(body.to_string())),
    };
    answer.expect("valid")
}

pub fn refused(status: u16, code: &str, mut error: Value) -> Response<Body> {
    error["code"] = code.into();
    error["message"] = format!("it is {code}").into();
    error["remedy"] = "do not".into();
    plain(status, json!({"error": error}))
}

pub fn busy() -> Response<Body> {
    let mut answer = refused(429, "too_many_requests", json!({}));
    answer.headers_mut().insert("retry-after", 1.into());
    answer
}

pub fn info(id: &str) -> Value {
    json!({
        "id": id, "number": 1, "shard": 0, "slot": 2, "route": "/feed", "status": "unattended",
        "peer": "127.0.0.1:5", "session_id": null, "opened_ms": 5, "idle_ms": 4, "timeout_ms": null,
        "lease": null, "novelty": true,
    })
}
