//! Which path and method leads to which function: one table, from which the router is made and
//! against which the API's description is checked. Everything in it stands behind the guard.

use super::error::ApiError;
use super::plane::Plane;
use super::{events, list, metrics, page, status, verbs};
use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::header::ALLOW;
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use std::sync::Arc;

/// A path of the API.
pub(super) struct Route {
    pub(super) path: &'static str,
    /// Its methods, as the `Allow` header has them.
    pub(super) methods: &'static str,
    make: fn() -> MethodRouter<Arc<Plane>>,
}

const fn route(
    path: &'static str,
    methods: &'static str,
    make: fn() -> MethodRouter<Arc<Plane>>,
) -> Route {
    Route { path, methods, make }
}

const LOOKS: &str = "GET, HEAD";

/// What needs no token answers OPTIONS as it answers GET: HAProxy asks like that unless it is told
/// otherwise.
const PROBES: &str = "GET, HEAD, OPTIONS";

/// Every path.
pub(super) const ROUTES: &[Route] = &[
    route("/", PROBES, || get(page::page).options(page::page)),
    route("/openapi.json", LOOKS, || get(page::openapi)),
    route("/healthz", PROBES, || get(status::health).options(status::health)),
    route("/readyz", PROBES, || get(status::readiness).options(status::readiness)),
    route("/metrics", LOOKS, || get(metrics::metrics)),
    route("/v1/status", LOOKS, || get(status::status)),
    route("/v1/events", LOOKS, || get(events::events)),
    route("/v1/websockets", LOOKS, || get(list::list)),
    route("/v1/websockets/{id}", "GET, HEAD, DELETE", || get(list::one).delete(verbs::close)),
    route("/v1/websockets/{id}/open", "POST", || post(verbs::open)),
    route("/v1/websockets/{id}/renew", "POST", || post(verbs::renew)),
    route("/v1/websockets/{id}/release", "POST", || post(verbs::release)),
    route("/v1/websockets/{id}/read", "POST", || post(verbs::read)),
    route("/v1/websockets/{id}/write", "POST", || post(verbs::write)),
    route("/v1/websockets/{id}/interrupt", "POST", || post(verbs::interrupt)),
    route("/v1/sessions/{id}/revoke", "POST", || post(verbs::revoke)),
];

/// The router of a connection.
pub(super) fn router(plane: Arc<Plane>) -> Router {
    let mut router = Router::new();
    for Route { path, methods, make } in ROUTES {
        let methods: &'static str = methods;
        let refuse = move || async move { ApiError::method_not_allowed(methods) };
        router = router.route(path, make().fallback(refuse));
    }
    router.fallback(elsewhere).with_state(plane)
}

/// `OPTIONS *` says what the server can at all (RFC 9110 §9.3.7); at any other path there is nothing.
async fn elsewhere(method: Method, uri: Uri) -> Response {
    match is_options_of_all(&method, &uri) {
        true => [(ALLOW, "GET, HEAD, OPTIONS, POST, DELETE")].into_response(),
        false => ApiError::not_found().into_response(),
    }
}

/// Whether it is `OPTIONS *`, as load balancers ask.
pub(super) fn is_options_of_all(method: &Method, uri: &Uri) -> bool {
    *method == Method::OPTIONS && uri.path() == "*"
}

/// The id in the path of a request. What cannot be one is as unknown as any other.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| ApiError::unknown_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let document: Value = serde_json::from_str(page::OPENAPI).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let mut described = BTreeSet::new();
        for (path, item) in paths {
            let methods = item.as_object().expect("operations").keys();
            described.extend(
                methods
                    .filter(|name| *name != "parameters")
                    .map(|name| (path.clone(), name.to_uppercase())),
            );
        }
        let mut served = BTreeSet::new();
        for Route { path, methods, .. } in ROUTES {
            // HEAD is GET without a body, as everywhere; OPTIONS is for load balancers.
            let described = |method: &&str| !["HEAD", "OPTIONS"].contains(method);
            let methods = methods.split(", ").filter(described);
            served.extend(methods.map(|method| ((*path).to_owned(), method.to_owned())));
        }
        assert_eq!(described, served);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
