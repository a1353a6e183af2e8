//! Which path leads to which handler.
//!
//! Filled by `api` before the start, and the same for all shards from then on. What makes a handler
//! is a closure here, so that the engine does not know the handlers' trait. Nothing here calls it.

use crate::engine::handlers::port::Port;
use crate::engine::model::ended::{Counts, Ended};
use crate::engine::model::paths::Paths;
use crate::engine::model::settings::{OriginError, RouteOptions};
use crate::engine::model::status::RouteStatus;
use crate::engine::model::task::Task;
use crate::proto::{Request, Upgrade};
use std::sync::Arc;

/// A request that asks for an upgrade, and the connection it came on.
pub(crate) struct Arrival {
    pub(crate) port: Port,
    pub(crate) request: Box<Request>,
    pub(crate) upgrade: Box<Upgrade>,
}

/// A shared socket that is gone, and whose handler had left it open.
pub(crate) struct Farewell {
    pub(crate) websocket_id: String,
    pub(crate) ended: Ended,
    pub(crate) counts: Counts,
}

/// What stands behind a path.
pub(crate) enum Target {
    /// A WebSocket handler.
    Handler {
        /// Its callbacks for one connection.
        make: Box<dyn Fn(Arrival) -> Task + Send + Sync>,
        /// The last callback, for a shared socket whose handler is no more.
        farewell: Box<dyn Fn(Farewell) -> Task + Send + Sync>,
    },
    /// A page, for a plain GET.
    Page {
        /// Its media type.
        content_type: &'static str,
        /// Its bytes.
        body: &'static [u8],
    },
}

/// The paths, and what stands behind each.
#[derive(Default)]
pub(crate) struct Routes {
    paths: Arc<Paths>,
    targets: Vec<Target>,
}

impl Routes {
    /// Adds a route. The newest of two for the same path takes the place of the other.
    pub(crate) fn add(&mut self, path: &str, options: RouteOptions, target: Target) {
        let index = Arc::make_mut(&mut self.paths).add(path, options);
        match self.targets.get_mut(index) {
            Some(known) => *known = target,
            None => self.targets.push(target),
        }
    }

    /// The paths, for those who need no target.
    pub(in crate::engine) fn paths(&self) -> &Arc<Paths> {
        &self.paths
    }

    /// Puts the origins of each route into the form in which they are compared.
    pub(in crate::engine) fn make_canonical(&mut self) -> Result<(), OriginError> {
        Arc::make_mut(&mut self.paths).make_canonical()
    }

    /// The target of a route, if there is such a route.
    pub(in crate::engine) fn get(&self, route: u16) -> Option<&Target> {
        self.targets.get(usize::from(route))
    }

    /// A status of each, with nothing counted.
    pub(in crate::engine) fn statuses(&self) -> Vec<RouteStatus> {
        let status = |(index, target): (usize, &Target)| {
            let index = index as u16;
            RouteStatus {
                path: self.paths.path(index).unwrap_or_default(),
                shared_connection: self.paths.options(index).is_some_and(|o| o.shared_connection),
                page: matches!(target, Target::Page { .. }),
                ..RouteStatus::default()
            }
        };
        self.targets.iter().enumerate().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_then_longest_prefix_and_the_newest_counts() {
        let mut routes = Routes::default();
        let paths = ["/a", "/a/*", "/a/b/*", "/a/b", "/odd*", "/a/*", "/a/%62"];
        for path in paths {
            let page = Target::Page { content_type: "text/plain", body: b"" };
            routes.add(path, RouteOptions::default(), page);
        }
        let shared = RouteOptions { shared_connection: true, ..RouteOptions::default() };
        let page = Target::Page { content_type: "text/html", body: b"newest" };
        routes.add("/a", shared, page);
        assert_eq!((routes.paths.len(), routes.statuses().len()), (5, 5), "each path once");
        assert!(matches!(routes.get(0), Some(Target::Page { body: b"newest", .. })));
        assert!(routes.paths.options(0).is_some_and(|options| options.shared_connection));
        let found = |path| routes.paths.find(path).map(usize::from);
        assert_eq!(found("/a"), Some(0));
        assert_eq!(found("/a/"), Some(1));
        assert_eq!(found("/a/c/d"), Some(1));
        assert_eq!(found("/a/c"), Some(1));
        assert_eq!(found("/a/b"), Some(3));
        assert_eq!(found("/a/b/c"), Some(2));
        assert_eq!(found("/odd*"), Some(4));
        assert_eq!(found("/oddity"), None);
        assert_eq!(found("/"), None);
        assert_eq!(found("/%61/c%2fd"), Some(1));
        assert_eq!(found("/a%2Fb"), None);
        assert_eq!(found("/%6Fdd%2A"), None);
        assert_eq!(routes.paths.pattern(2), "/a/b/*");
        assert_eq!(routes.paths.pattern(u16::MAX), "-");
    }
}
