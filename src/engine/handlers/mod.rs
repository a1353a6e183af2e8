//! The application's side: which handler a request gets, and the verbs that it has.

pub(in crate::engine) mod arrivals;
pub(in crate::engine) mod port;
pub(in crate::engine) mod read;
pub(in crate::engine) mod routes;
