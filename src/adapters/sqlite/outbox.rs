//! The outbox: cursors and dead letters. One process has the file open, so the leader lock is held
//! in memory; fencing tokens are checked nevertheless.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{RunQueryDsl as _, SqliteConnection};

use super::SqliteStore;
use super::error::Failure;
use super::known_sink;
use super::sql::Sql;
use super::write::{immediate, json};
use crate::adapters::rows::{CursorRow, DeadLetterRow};
use crate::domain::OrderId;
use crate::ports::{
    DeadLetter, KnownSink, LeaderStatus, Lease, LeaseToken, LeaseWrite, Outbox, OutboxStatus, PortError,
    Position, Resolution,
};

/// The SQL types of a [`DeadLetterRow`].
type DeadLetterColumns = (Text, BigInt, BigInt, Text, BigInt, Nullable<Text>);
const DEAD_LETTER: &str = "order_id, sequence, position, cause, buried_at, resolution";

/// The SQL types of a [`CursorRow`].
type CursorColumns =
    (BigInt, Nullable<Text>, Nullable<BigInt>, Nullable<Text>, Nullable<BigInt>, Nullable<Text>, BigInt);

#[async_trait]
impl Outbox for SqliteStore {
    async fn acquire_lease(&self, sink: &str) -> Result<Option<Lease>, PortError> {
        let Ok(hold) = Arc::clone(&self.leader_lock).try_lock_owned() else { return Ok(None) };
        let sink = sink.to_owned();
        let (token, cursor) = self.writers.write(move |connection| lead(connection, &sink)).await?;
        Ok(Some(Lease::new(token, cursor, hold)))
    }

    async fn advance(
        &self,
        token: &LeaseToken,
        cursor: Position,
        letters: &[DeadLetter],
    ) -> Result<LeaseWrite, PortError> {
        let (token, letters) = (token.clone(), letters.to_vec());
        self.writers.write(move |connection| advance(connection, &token, cursor, &letters)).await
    }

    async fn held_back(
        &self,
        sink: &str,
        orders: &BTreeSet<OrderId>,
    ) -> Result<BTreeMap<OrderId, i64>, PortError> {
        let (sink, orders) = (sink.to_owned(), orders.clone());
        self.readers.points.read(move |connection| held_back(connection, &sink, &orders)).await
    }

    async fn dead_letters(
        &self,
        sink: &str,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError> {
        let query = letters(sink, after, limit);
        self.readers.lists.read(|connection| load_letters(connection, query)).await
    }

    async fn cursor(&self, sink: &str) -> Result<Option<Position>, PortError> {
        let query = cursor(sink);
        let found = self.readers.points.read(|connection| Ok(query.load::<i64>(connection)?)).await?;
        Ok(found.into_iter().next().map(Position))
    }

    async fn resolve(
        &self,
        sink: &str,
        order_id: &OrderId,
        resolution: Resolution,
    ) -> Result<bool, PortError> {
        let statement = resolve(sink, order_id, resolution);
        Ok(self.writers.write(|connection| Ok(statement.execute(connection)?)).await? > 0)
    }

    async fn resolved_dead_letters(&self, sink: &str, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        let query = resolved_dead_letters(sink, limit);
        self.readers.points.read(|connection| load_letters(connection, query)).await
    }

    async fn remove_dead_letter(
        &self,
        token: &LeaseToken,
        letter: &DeadLetter,
    ) -> Result<LeaseWrite, PortError> {
        let (token, letter) = (token.clone(), letter.clone());
        let remove = move |connection: &mut SqliteConnection| {
            if_led(connection, &token, |connection| {
                remove_dead_letter(&token.sink, &letter).execute(connection)?;
                Ok(())
            })
        };
        self.writers.write(remove).await
    }

    async fn known_sink(&self, sink: &str) -> Result<Option<KnownSink>, PortError> {
        let (query, sink) = (known_sink::known_sink(sink), sink.to_owned());
        self.readers.points.read(move |connection| known_sink::load(connection, query, &sink)).await
    }

    async fn record_sink(&self, sink: &str, known: &KnownSink) -> Result<(), PortError> {
        let statement = known_sink::record_sink(sink, known);
        self.writers.write(|connection| Ok(statement.execute(connection)?)).await?;
        Ok(())
    }

    async fn republish(&self, sink: &str, after: Position) -> Result<bool, PortError> {
        let statement = known_sink::republish(sink, after);
        Ok(self.writers.write(|connection| Ok(statement.execute(connection)?)).await? > 0)
    }

    async fn record_leader_status(
        &self,
        token: &LeaseToken,
        status: &LeaderStatus,
    ) -> Result<LeaseWrite, PortError> {
        let statement = self::record_leader_status(token, status);
        let noted = self.writers.write(|connection| Ok(statement.execute(connection)?)).await?;
        Ok(if noted > 0 { LeaseWrite::Done } else { LeaseWrite::Fenced })
    }

    async fn status(&self, sink: &str) -> Result<Option<OutboxStatus>, PortError> {
        let (query, led) = (status(sink), self.leader_lock.try_lock().is_err());
        let rows = self.readers.points.read(|connection| Ok(query.load::<CursorRow>(connection)?)).await?;
        let status = rows.into_iter().next().map(|row| row.status(led)).transpose();
        status.map_err(|fault| Failure::row("outbox_cursors", sink, &fault).into())
    }
}

/// Runs a write if the fencing token is still valid, in one transaction.
fn if_led(
    connection: &mut SqliteConnection,
    token: &LeaseToken,
    work: impl FnOnce(&mut SqliteConnection) -> Result<(), Failure>,
) -> Result<LeaseWrite, Failure> {
    immediate(connection, |connection| {
        let led: Vec<i64> = led(token).load(connection)?;
        if led.is_empty() {
            return Ok(LeaseWrite::Fenced);
        }
        work(connection)?;
        Ok(LeaseWrite::Done)
    })
}

pub(super) fn resolve(sink: &str, order_id: &OrderId, resolution: Resolution) -> Sql<()> {
    Sql::new("UPDATE dead_letters SET resolution = ")
        .text(DeadLetterRow::resolution_text(resolution))
        .sql(" WHERE sink = ")
        .text(sink)
        .sql(" AND order_id = ")
        .text(order_id.as_str())
}

pub(super) fn resolved_dead_letters(sink: &str, limit: usize) -> Sql<DeadLetterColumns> {
    Sql::new("SELECT ")
        .sql(DEAD_LETTER)
        .sql(" FROM dead_letters INDEXED BY dead_letters_resolved WHERE sink = ")
        .text(sink)
        .sql(" AND resolution IS NOT NULL ORDER BY order_id LIMIT ")
        .limit(limit)
}

pub(super) fn remove_dead_letter(sink: &str, letter: &DeadLetter) -> Sql<()> {
    Sql::new("DELETE FROM dead_letters WHERE sink = ")
        .text(sink)
        .sql(" AND order_id = ")
        .text(letter.order_id.as_str())
        .sql(" AND sequence = ")
        .integer(letter.sequence)
}

pub(super) fn record_leader_status(token: &LeaseToken, status: &LeaderStatus) -> Sql<()> {
    let statement = Sql::new("UPDATE outbox_cursors SET leader = ")
        .text(status.name.as_str())
        .sql(", led_since = ")
        .integer(status.since.micros());
    let statement = match &status.failure {
        Some((failure, at)) => {
            statement.sql(", failure = ").text(failure.as_str()).sql(", failed_at = ").integer(at.micros())
        }
        None => statement,
    };
    let statement = match &status.stopped {
        Some(reason) => statement.sql(", stopped = ").text(reason.as_str()),
        None => statement.sql(", stopped = NULL"),
    };
    statement
        .sql(" WHERE sink = ")
        .text(token.sink.as_str())
        .sql(" AND fence = ")
        .integer(token.fencing_token)
}

pub(super) fn status(sink: &str) -> Sql<CursorColumns> {
    Sql::new(
        "SELECT position, leader, led_since, failure, failed_at, stopped, \
         (SELECT count(*) FROM dead_letters WHERE is_awaited() AND dead_letters.sink = outbox_cursors.sink) \
         FROM outbox_cursors WHERE sink = ",
    )
    .text(sink)
}

/// Returns the fencing token of a new lease, and its cursor.
fn lead(connection: &mut SqliteConnection, sink: &str) -> Result<(LeaseToken, Position), Failure> {
    let (fencing_token, position): (i64, i64) = raise_fencing_token(sink).get_result(connection)?;
    Ok((LeaseToken { sink: sink.to_owned(), fencing_token }, Position(position)))
}

fn raise_fencing_token(sink: &str) -> Sql<(BigInt, BigInt)> {
    Sql::new("INSERT INTO outbox_cursors (sink, fence, position) VALUES (").text(sink).sql(
        ", 1, 0) ON CONFLICT (sink) DO UPDATE SET fence = outbox_cursors.fence + 1 \
         RETURNING fence, position",
    )
}

fn advance(
    connection: &mut SqliteConnection,
    token: &LeaseToken,
    cursor: Position,
    letters: &[DeadLetter],
) -> Result<LeaseWrite, Failure> {
    immediate(connection, |connection| {
        let led: Vec<i64> = led(token).load(connection)?;
        let Some(before) = led.first() else { return Ok(LeaseWrite::Fenced) };
        if cursor.0 < *before {
            let (sink, to) = (&token.sink, cursor.0);
            let message = format!("outbox_cursors {sink:?}: position would move back from {before} to {to}");
            return Err(Failure::Inconsistent(message));
        }
        move_cursor(token, cursor).execute(connection)?;
        if !letters.is_empty() {
            bury(&token.sink, &json(&rows(letters))?).execute(connection)?;
        }
        Ok(LeaseWrite::Done)
    })
}

/// Selects the cursor if the fencing token is still valid.
pub(super) fn led(token: &LeaseToken) -> Sql<BigInt> {
    Sql::new("SELECT position FROM outbox_cursors WHERE sink = ")
        .text(token.sink.as_str())
        .sql(" AND fence = ")
        .integer(token.fencing_token)
}

pub(super) fn move_cursor(token: &LeaseToken, cursor: Position) -> Sql<()> {
    Sql::new("UPDATE outbox_cursors SET position = ")
        .integer(cursor.0)
        .sql(" WHERE sink = ")
        .text(token.sink.as_str())
        .sql(" AND fence = ")
        .integer(token.fencing_token)
}

fn rows(letters: &[DeadLetter]) -> Vec<(&str, i64, i64, &str, i64)> {
    let rows = letters.iter().map(|letter| {
        let (order_id, cause) = (letter.order_id.as_str(), letter.cause.as_str());
        (order_id, letter.sequence, letter.position.0, cause, letter.refused_at.micros())
    });
    rows.collect()
}

/// Inserts dead letters from a JSON array.
fn bury(sink: &str, letters: &str) -> Sql<()> {
    Sql::new(
        "INSERT OR REPLACE INTO dead_letters (sink, order_id, sequence, position, cause, buried_at) SELECT ",
    )
    .text(sink)
    .sql(", value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(")
    .text(letters)
    .sql(")")
}

fn held_back(
    connection: &mut SqliteConnection,
    sink: &str,
    orders: &BTreeSet<OrderId>,
) -> Result<BTreeMap<OrderId, i64>, Failure> {
    let ids: Vec<&str> = orders.iter().map(OrderId::as_str).collect();
    let rows: Vec<(String, i64)> = held(sink, &json(&ids)?).load(connection)?;
    rows.into_iter().map(|(order_id, sequence)| Ok((key(&order_id)?, sequence))).collect()
}

/// Selects held-back orders among a JSON array of ids. CROSS JOIN keeps the array
/// in the outer loop, so that each id is one search.
pub(super) fn held(sink: &str, ids: &str) -> Sql<(Text, BigInt)> {
    Sql::new("SELECT dead_letters.order_id, sequence FROM json_each(")
        .text(ids)
        .sql(") AS named CROSS JOIN dead_letters ON dead_letters.order_id = named.value AND sink = ")
        .text(sink)
}

fn load_letters(
    connection: &mut SqliteConnection,
    query: Sql<DeadLetterColumns>,
) -> Result<Vec<DeadLetter>, Failure> {
    let rows: Vec<DeadLetterRow> = query.load(connection)?;
    let letter = |row: DeadLetterRow| {
        let order_id = row.order_id.clone();
        DeadLetter::try_from(row).map_err(|fault| Failure::row("dead_letters", &order_id, &fault))
    };
    rows.into_iter().map(letter).collect()
}

pub(super) fn letters(sink: &str, after: Option<&OrderId>, limit: usize) -> Sql<DeadLetterColumns> {
    // No id is empty, so every id is greater than the empty string.
    let after = after.map(OrderId::as_str).unwrap_or_default();
    Sql::new("SELECT ")
        .sql(DEAD_LETTER)
        .sql(" FROM dead_letters WHERE is_awaited() AND sink = ")
        .text(sink)
        .sql(" AND order_id > ")
        .text(after)
        .sql(" ORDER BY order_id LIMIT ")
        .limit(limit)
}

fn key(order_id: &str) -> Result<OrderId, Failure> {
    let wrong = |why| Failure::Inconsistent(format!("dead_letters {order_id:?}: order_id {why}"));
    OrderId::parse(order_id).map_err(wrong)
}

pub(super) fn cursor(sink: &str) -> Sql<BigInt> {
    Sql::new("SELECT position FROM outbox_cursors WHERE sink = ").text(sink)
}
