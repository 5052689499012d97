//! Escapes text for a terminal.

pub(super) use crate::domain::escape as plain;
