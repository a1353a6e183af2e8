//! What is served as it is: the status page, and the description of the API.

use super::document;
use super::error::ApiError;
use super::query::Query;
use super::tokens;
use axum::extract::RawQuery;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY};
use axum::response::{IntoResponse, Response};

/// The description of the API (OpenAPI 3.1).
pub(super) const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// `GET /`
pub(super) async fn page(RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    // Only scripts and styles that stand in the page itself run, and it talks to nobody else.
    let nonce = tokens::random().map_err(|_| {
        let remedy = "see whether getrandom(2) is allowed";
        ApiError::new(503, "busy", "no random number can be had", remedy)
    })?;
    let policy = document::policy(&nonce);
    let headers: [(HeaderName, &str); 3] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, &policy),
        (REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, document::html(&nonce)).into_response())
}

/// `GET /openapi.json`
pub(super) async fn openapi(RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    Ok(([(CONTENT_TYPE, "application/json")], OPENAPI).into_response())
}
