//! The rules of the contract, proven: against a model (T1), also while the store
//! fails (T4), state by state (T2), instant by instant (T14), and every value's text form.

mod codecs;
mod compare;
mod faulty;
mod instants;
mod keys;
mod machine;
mod model;
mod packaging;
mod page_tokens;
mod script;
mod table;
