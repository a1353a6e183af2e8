//! Which path belongs to which route, and how that is to be served; not by what, which
//! [`handlers`](crate::engine::handlers) know.

use crate::engine::model::settings::{MailboxPolicy, OriginError, RouteOptions, make_canonical};
use crate::proto::path::canonical;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Exact paths first, then the longest `/prefix/*`. Paths are compared in their canonical form.
#[derive(Clone, Default)]
pub(in crate::engine) struct Paths {
    routes: Vec<Route>,
    exact: HashMap<String, u16>,
    /// Prefixes without the `*`, longest first.
    prefixes: Vec<(String, u16)>,
}

/// One route.
#[derive(Clone)]
struct Route {
    path: Arc<str>,
    options: RouteOptions,
}

impl Paths {
    /// Adds a route, and gives its number. The newest of two for the same path takes the place of the
    /// other.
    pub(in crate::engine) fn add(&mut self, path: &str, options: RouteOptions) -> usize {
        let canonical = canonical(path);
        let prefix = canonical.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
        let known = match prefix {
            Some(prefix) => {
                self.prefixes.iter().find(|(known, _)| known == prefix).map(|(_, at)| *at)
            }
            None => self.exact.get(&*canonical).copied(),
        };
        let route = Route { path: path.into(), options };
        if let Some(known) = known {
            self.routes[usize::from(known)] = route;
            return known.into();
        }
        let index = u16::try_from(self.routes.len()).expect("at most 65,535 routes");
        self.routes.push(route);
        match prefix {
            Some(prefix) => {
                self.prefixes.push((prefix.to_owned(), index));
                self.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
            }
            None => drop(self.exact.insert(canonical.into_owned(), index)),
        }
        index.into()
    }

    /// The route of a path.
    pub(in crate::engine) fn find(&self, path: &str) -> Option<u16> {
        let path = canonical(path);
        let prefixed = || self.prefixes.iter().find(|(prefix, _)| path.starts_with(prefix));
        self.exact.get(&*path).copied().or_else(|| prefixed().map(|(_, index)| *index))
    }

    /// Puts the origins of each route into the form in which they are compared.
    pub(in crate::engine) fn make_canonical(&mut self) -> Result<(), OriginError> {
        self.routes
            .iter_mut()
            .try_for_each(|route| make_canonical(&mut route.options.origins_allowed))
    }

    /// The pattern of a route, for the log; `-` for none.
    pub(in crate::engine) fn pattern(&self, route: u16) -> &str {
        self.routes.get(usize::from(route)).map_or("-", |route| &route.path)
    }

    /// The pattern of a route, to be kept.
    pub(in crate::engine) fn path(&self, route: u16) -> Option<Arc<str>> {
        self.routes.get(usize::from(route)).map(|route| Arc::clone(&route.path))
    }

    pub(in crate::engine) fn options(&self, route: u16) -> Option<&RouteOptions> {
        self.routes.get(usize::from(route)).map(|route| &route.options)
    }

    /// What a full mailbox of this route does.
    pub(in crate::engine) fn mailbox(&self, route: u16) -> MailboxPolicy {
        self.options(route).map_or(MailboxPolicy::StopReading, |options| options.mailbox)
    }

    /// How long shared sockets of this route may be idle.
    pub(in crate::engine) fn session_timeout(&self, route: u16) -> Option<Duration> {
        let timeout = self.options(route)?.session_timeout;
        (!timeout.is_zero()).then_some(timeout)
    }

    /// Whether any route asks for sessions.
    pub(in crate::engine) fn want_sessions(&self) -> bool {
        self.routes.iter().any(|route| route.options.session)
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.routes.len()
    }
}
