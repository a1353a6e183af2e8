//! Which path leads to which handler.
//!
//! Filled by `api` before the start, and the same for all shards from then on. What makes a handler
//! is a closure here, so that the engine does not know the handlers' trait. Nothing here calls it.

use super::connection::{Counts, Ended};
use super::executor::Task;
use super::settings::{OriginError, RouteOptions, make_canonical};
use super::status::RouteStatus;
use super::verbs::Port;
use crate::proto::path::canonical;
use crate::proto::{Request, Upgrade};
use std::collections::HashMap;
use std::sync::Arc;

/// A request that asks for an upgrade, and the connection it came on.
pub(crate) struct Arrival {
    pub(crate) port: Port,
    pub(crate) request: Box<Request>,
    pub(crate) upgrade: Box<Upgrade>,
}

/// Makes the task that handles one connection.
pub(crate) type MakeTask = Box<dyn Fn(Arrival) -> Task + Send + Sync>;

/// A shared socket that is gone, and whose handler had left it open.
pub(crate) struct Farewell {
    pub(crate) websocket_id: String,
    pub(crate) ended: Ended,
    pub(crate) counts: Counts,
}

/// Makes the task that tells a new handler about it.
pub(crate) type MakeFarewell = Box<dyn Fn(Farewell) -> Task + Send + Sync>;

/// What stands behind a path.
pub(crate) enum Target {
    /// A WebSocket handler.
    Handler {
        /// Its callbacks for one connection.
        make: MakeTask,
        /// The last callback, for a shared socket whose handler is no more.
        farewell: MakeFarewell,
    },
    /// A page, for a plain GET.
    Page {
        /// Its media type.
        content_type: &'static str,
        /// Its bytes.
        body: &'static [u8],
    },
}

/// One route.
struct Route {
    path: Arc<str>,
    target: Target,
    options: RouteOptions,
}

/// Exact paths first, then the longest `/prefix/*`. Paths are compared in their canonical form.
#[derive(Default)]
pub(crate) struct Routes {
    targets: Vec<Route>,
    exact: HashMap<String, u16>,
    /// Prefixes without the `*`, longest first.
    prefixes: Vec<(String, u16)>,
}

impl Routes {
    /// Adds a route. The newest of two for the same path takes the place of the other.
    pub(crate) fn add(&mut self, path: &str, options: RouteOptions, target: Target) {
        let canonical = canonical(path);
        let prefix = canonical.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
        let known = match prefix {
            Some(prefix) => {
                self.prefixes.iter().find(|(known, _)| known == prefix).map(|(_, at)| *at)
            }
            None => self.exact.get(&*canonical).copied(),
        };
        let route = Route { path: path.into(), target, options };
        if let Some(known) = known {
            self.targets[usize::from(known)] = route;
            return;
        }
        let index = u16::try_from(self.targets.len()).expect("at most 65,535 routes");
        self.targets.push(route);
        match prefix {
            Some(prefix) => {
                self.prefixes.push((prefix.to_owned(), index));
                self.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
            }
            None => drop(self.exact.insert(canonical.into_owned(), index)),
        }
    }

    /// The route of a path.
    pub(super) fn find(&self, path: &str) -> Option<u16> {
        let path = canonical(path);
        let prefixed = || self.prefixes.iter().find(|(prefix, _)| path.starts_with(prefix));
        self.exact.get(&*path).copied().or_else(|| prefixed().map(|(_, index)| *index))
    }

    /// Puts the origins of each route into the form in which they are compared.
    pub(super) fn make_canonical(&mut self) -> Result<(), OriginError> {
        self.targets
            .iter_mut()
            .try_for_each(|route| make_canonical(&mut route.options.origins_allowed))
    }

    /// The target of a route, if there is such a route.
    pub(super) fn get(&self, route: u16) -> Option<&Target> {
        self.targets.get(usize::from(route)).map(|route| &route.target)
    }

    pub(super) fn target(&self, route: u16) -> &Target {
        &self.targets[usize::from(route)].target
    }

    /// The pattern of a route, for the log; `-` for none.
    pub(super) fn pattern(&self, route: u16) -> &str {
        self.targets.get(usize::from(route)).map_or("-", |route| &route.path)
    }

    /// The pattern of a route, to be kept.
    pub(super) fn path(&self, route: u16) -> Option<Arc<str>> {
        self.targets.get(usize::from(route)).map(|route| Arc::clone(&route.path))
    }

    pub(super) fn options(&self, route: u16) -> Option<&RouteOptions> {
        self.targets.get(usize::from(route)).map(|route| &route.options)
    }

    /// Whether any route asks for sessions.
    pub(super) fn want_sessions(&self) -> bool {
        self.targets.iter().any(|route| route.options.session)
    }

    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    /// A status of each, with nothing counted.
    pub(super) fn statuses(&self) -> Vec<RouteStatus> {
        let status = |route: &Route| RouteStatus {
            path: Arc::clone(&route.path),
            shared_connection: route.options.shared_connection,
            page: matches!(route.target, Target::Page { .. }),
            ..RouteStatus::default()
        };
        self.targets.iter().map(status).collect()
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
        assert_eq!((routes.len(), routes.statuses().len()), (5, 5), "each path once");
        assert!(matches!(routes.target(0), Target::Page { body: b"newest", .. }));
        assert!(routes.options(0).is_some_and(|options| options.shared_connection));
        let found = |path| routes.find(path).map(usize::from);
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
        assert_eq!(routes.pattern(2), "/a/b/*");
        assert_eq!(routes.pattern(u16::MAX), "-");
    }
}
