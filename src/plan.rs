//! What an engine does.

use crate::limits::Limits;
use crate::table::Table;

/// The routes and the limits of an engine. A value; nothing happens by making one.
#[derive(Debug, Default)]
pub struct Plan {
    /// Where openings go.
    pub table: Table,
    /// What is allowed.
    pub limits: Limits,
}
