//! Tests of the cache: the interleavings in which caches show old versions, random schedules
//! against a model, and the writer and the readers around it.

mod announcements;
mod model;
mod reads;
mod schedules;
pub mod source;
mod traps;
mod writes;
