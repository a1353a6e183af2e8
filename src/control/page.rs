//! What is served as it is: the status page, and the description of the API. Called by the routes.

use super::answer::SameForAll;
use super::document;
use super::error::ApiError;
use super::query::Query;
use axum::Extension;
use axum::extract::RawQuery;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY};
use axum::response::{IntoResponse, Response};

/// The description of the API (OpenAPI 3.1).
pub(super) const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// `GET /`
pub(super) async fn page(RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    // Only scripts and styles that stand in the page itself run, and it talks to nobody else.
    let headers: [(HeaderName, &str); 3] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, document::policy()),
        (REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, Extension(SameForAll), document::html()).into_response())
}

/// `GET /openapi.json`
pub(super) async fn openapi(RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    let headers = [(CONTENT_TYPE, "application/json")];
    Ok((headers, Extension(SameForAll), OPENAPI).into_response())
}
