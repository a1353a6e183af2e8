//! The figures of many runs, computed once: `series` has the arithmetic, `measures` says what is
//! measured, `book` holds it all, `verdict` and `targets` say what it comes to.
//!
//! `compare`, `page` and `suite` show what stands here. It measures nothing and prints nothing.

pub mod book;
pub mod measures;
pub mod series;
pub mod targets;
pub mod verdict;
