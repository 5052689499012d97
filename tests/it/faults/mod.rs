//! Fault tests of the released binary: overload, full disks, foreign locks, kills,
//! shutdowns, and malformed requests.

mod attacks;
mod beside_attacks;
mod boundaries;
mod database;
mod deadlines;
mod descriptors;
mod discovery;
mod disk;
mod files_gone;
mod held_connections;
mod hostile;
mod load;
mod overload;
mod power_cuts;
mod raw_connection;
mod request_memory;
pub mod requests;
mod shutdown;
mod stalls;
pub mod test_service;
mod unread_connection;
mod unread_streams;
