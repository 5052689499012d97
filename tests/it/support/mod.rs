//! What the tests share: a clock that they set, ids that they can foresee,
//! builders of commands, a world that runs them, and a runner of properties
//! that prints how to replay a failure.

pub mod commands;
pub mod property;
pub mod time;
pub mod town;
pub mod world;
