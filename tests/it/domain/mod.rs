//! Tests of the domain rules: against a model (T1), with a failing store (T4), for every state (T2),
//! at every time limit (T14), and of the text form of every value.

mod codecs;
mod compare;
mod faulty;
mod idempotency;
mod instants;
mod machine;
mod model;
mod packaging;
mod page_tokens;
mod script;
mod table;
