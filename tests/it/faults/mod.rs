//! What happens when things go wrong: the released binary under overload, on a
//! full disk, behind a foreign lock, killed, stopped, and fed with garbage.

pub mod asks;
mod boundaries;
mod database;
mod deadlines;
mod descriptors;
mod discovery;
mod disk;
mod hostile;
mod load;
mod overload;
mod power;
mod raw;
pub mod service;
mod shutdown;
