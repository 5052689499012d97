//! The rules of a pickup point, as values and functions. No I/O, clock, randomness, async or
//! serialization: the current time and new ids are arguments.

mod command;
mod content;
mod day_statistics;
mod decide;
mod escape;
mod event;
mod form;
mod id;
mod order;
mod packaging;
mod partition_assignment;
mod policy;
mod quantity;
mod received_events;
mod refusal;
mod time;
mod traceparent;

pub use command::{
    Accept, AcceptReturn, Answer, BatchMode, Command, ImportRow, Issue, MAX_BATCH, OrderIds, OrderResult,
    ReturnToCourier,
};
pub use content::{Content, Method};
pub use day_statistics::DayStatistics;
pub use decide::{Change, Decision, Orders, decide};
pub use escape::{escape, is_deceptive};
pub use event::{Actor, ActorKind, Event, EventId, EventType, Inconsistency, evolve};
pub use form::Form;
pub use id::{ActorId, CustomerId, OrderId, PickupPointId, RequestId};
pub use order::{Order, OrderState, OrderView, ReturnedAt, StateName};
pub use packaging::{Catalogue, CatalogueError, Kind, PackagingCode, Role};
pub use partition_assignment::{PartitionClaim, PartitionLease, assign_partitions};
pub use policy::Policy;
pub use quantity::{Currency, Grams, Money};
pub use received_events::{OrderProgress, ReceivedBatch, ReceivedBefore, Reception, receive_events};
pub use refusal::{BatchRefusal, FieldViolation, Reason, Refusal, echo};
pub use time::{Day, Timestamp};
pub use traceparent::Traceparent;
