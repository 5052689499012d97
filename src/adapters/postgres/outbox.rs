//! The outbox: cursors of the sinks and dead letters. Each call is one statement.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use async_trait::async_trait;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use tokio::time::timeout;

use super::error::Failure;
use super::pool::on_connection;
use super::sql::Sql;
use super::store::PostgresStore;
use super::{known_sink, leader_lock};
use crate::adapters::rows::{CursorRow, DeadLetterRow};
use crate::domain::OrderId;
use crate::ports::{
    DeadLetter, KnownSink, LeaderStatus, Lease, LeaseToken, LeaseWrite, Outbox, OutboxStatus, PortError,
    Position, Resolution,
};

/// The columns of a dead letter.
type DeadLetterColumns = (Text, BigInt, BigInt, Text, BigInt, Nullable<Text>);
const DEAD_LETTER: &str = "order_id, sequence, position, cause, buried_at, resolution";

/// The columns of a cursor with its number of dead letters, and whether a session
/// holds the leader lock.
type CursorColumns = (
    (BigInt, Nullable<Text>, Nullable<BigInt>, Nullable<Text>, Nullable<BigInt>, Nullable<Text>, BigInt),
    Bool,
);

#[async_trait]
impl Outbox for PostgresStore {
    async fn acquire_lease(&self, sink: &str) -> Result<Option<Lease>, PortError> {
        let unavailable = |error: Box<dyn Error + Send + Sync>| {
            PortError::unavailable("the leader lock cannot be acquired", error)
        };
        match timeout(self.writers.timeout(), leader_lock::try_acquire(&self.leaders, sink)).await {
            Ok(acquired) => acquired.map_err(|error| unavailable(error.into())),
            Err(elapsed) => Err(unavailable(elapsed.into())),
        }
    }

    async fn advance(
        &self,
        token: &LeaseToken,
        cursor: Position,
        dead_letters: &[DeadLetter],
    ) -> Result<LeaseWrite, PortError> {
        let statement = advance_cursor(token, cursor, dead_letters);
        on_connection!(self.writers, |connection| advance(&mut connection, &statement, token, cursor))
    }

    async fn held_back(
        &self,
        sink: &str,
        orders: &BTreeSet<OrderId>,
    ) -> Result<BTreeMap<OrderId, i64>, PortError> {
        let query = held_back_orders(sink, orders);
        on_connection!(self.readers.points, |connection| load_held_back(&mut connection, &query))
    }

    async fn dead_letters(
        &self,
        sink: &str,
        after: Option<&OrderId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, PortError> {
        let query = dead_letters(sink, after, limit);
        on_connection!(self.readers.lists, |connection| load_dead_letters(&mut connection, &query))
    }

    async fn cursor(&self, sink: &str) -> Result<Option<Position>, PortError> {
        Ok(self.status(sink).await?.map(|status| status.cursor))
    }

    async fn resolve(
        &self,
        sink: &str,
        order_id: &OrderId,
        resolution: Resolution,
    ) -> Result<bool, PortError> {
        let statement = resolve(sink, order_id, resolution);
        let changed: Result<usize, PortError> =
            on_connection!(self.writers, |connection| execute(&mut connection, &statement));
        Ok(changed? > 0)
    }

    async fn resolved_dead_letters(&self, sink: &str, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        let query = resolved_dead_letters(sink, limit);
        on_connection!(self.readers.points, |connection| load_dead_letters(&mut connection, &query))
    }

    async fn remove_dead_letter(
        &self,
        token: &LeaseToken,
        dead_letter: &DeadLetter,
    ) -> Result<LeaseWrite, PortError> {
        let statement = remove_dead_letter(token, dead_letter);
        on_connection!(self.writers, |connection| if_leader(&mut connection, &statement))
    }

    async fn known_sink(&self, sink: &str) -> Result<Option<KnownSink>, PortError> {
        let query = known_sink::known_sink(sink);
        on_connection!(self.readers.points, |connection| known_sink::load(&mut connection, &query, sink))
    }

    async fn record_sink(&self, sink: &str, known: &KnownSink) -> Result<(), PortError> {
        let statement = known_sink::record_sink(sink, known);
        let recorded: Result<usize, PortError> =
            on_connection!(self.writers, |connection| execute(&mut connection, &statement));
        recorded.map(|_| ())
    }

    async fn republish(&self, sink: &str, after: Position) -> Result<bool, PortError> {
        let statement = known_sink::republish(sink, after);
        let moved: Result<usize, PortError> =
            on_connection!(self.writers, |connection| execute(&mut connection, &statement));
        Ok(moved? > 0)
    }

    async fn record_leader_status(
        &self,
        token: &LeaseToken,
        status: &LeaderStatus,
    ) -> Result<LeaseWrite, PortError> {
        let statement = self::record_leader_status(token, status);
        on_connection!(self.writers, |connection| if_leader(&mut connection, &statement))
    }

    async fn status(&self, sink: &str) -> Result<Option<OutboxStatus>, PortError> {
        let query = status(sink);
        on_connection!(self.readers.points, |connection| load_status(&mut connection, &query, sink))
    }
}

async fn execute(connection: &mut AsyncPgConnection, statement: &Sql<()>) -> Result<usize, Failure> {
    Ok(statement.execute(connection).await?)
}

/// Runs a statement that returns a row if, and only if, the fencing token is
/// current.
async fn if_leader(
    connection: &mut AsyncPgConnection,
    statement: &Sql<BigInt>,
) -> Result<LeaseWrite, Failure> {
    let rows: Vec<i64> = statement.load(connection).await?;
    Ok(if rows.is_empty() { LeaseWrite::Fenced } else { LeaseWrite::Done })
}

/// Advances the cursor and inserts the dead letters, or does neither. The first
/// column is the number of cursors that moved. The second is the position of the
/// cursor when the statement began, if the fencing token was current then. If
/// another leader raises the token while the statement runs, no cursor moves.
fn advance_cursor(
    token: &LeaseToken,
    cursor: Position,
    dead_letters: &[DeadLetter],
) -> Sql<(BigInt, Nullable<BigInt>)> {
    let integers = |of: fn(&DeadLetter) -> i64| dead_letters.iter().map(of).collect();
    Sql::new("WITH moved AS (UPDATE outbox_cursors SET position = ")
        .integer(cursor.0)
        .sql(" WHERE sink = ")
        .text(token.sink.as_str())
        .sql(" AND fence = ")
        .integer(token.fencing_token)
        .sql(" AND position <= ")
        .integer(cursor.0)
        .sql(
            " RETURNING sink), buried AS (INSERT INTO dead_letters \
             (sink, order_id, sequence, position, cause, buried_at) \
             SELECT moved.sink, new.* FROM moved, unnest(",
        )
        .texts(dead_letters.iter().map(|dead_letter| dead_letter.order_id.to_string()).collect())
        .sql(", ")
        .integers(integers(|dead_letter| dead_letter.sequence))
        .sql(", ")
        .integers(integers(|dead_letter| dead_letter.position.0))
        .sql(", ")
        .texts(dead_letters.iter().map(|dead_letter| dead_letter.cause.clone()).collect())
        .sql(", ")
        .integers(integers(|dead_letter| dead_letter.refused_at.micros()))
        .sql(
            ") AS new ON CONFLICT (sink, order_id) DO UPDATE SET sequence = excluded.sequence, \
             position = excluded.position, cause = excluded.cause, buried_at = excluded.buried_at, \
             resolution = NULL) \
             SELECT (SELECT count(*) FROM moved), (SELECT position FROM outbox_cursors WHERE sink = ",
        )
        .text(token.sink.as_str())
        .sql(" AND fence = ")
        .integer(token.fencing_token)
        .sql(")")
}

async fn advance(
    connection: &mut AsyncPgConnection,
    statement: &Sql<(BigInt, Nullable<BigInt>)>,
    token: &LeaseToken,
    cursor: Position,
) -> Result<LeaseWrite, Failure> {
    // Reads the response to its end: the statement commits after its row was sent.
    let rows: Vec<(i64, Option<i64>)> = statement.load(connection).await?;
    let (moved, before) = rows.into_iter().next().unwrap_or_default();
    match before {
        _ if moved > 0 => Ok(LeaseWrite::Done),
        Some(before) if before > cursor.0 => {
            let (sink, to) = (&token.sink, cursor.0);
            let message = format!("outbox_cursors {sink:?}: position would go back from {before} to {to}");
            Err(Failure::Inconsistent(message))
        }
        _ => Ok(LeaseWrite::Fenced),
    }
}

fn held_back_orders(sink: &str, orders: &BTreeSet<OrderId>) -> Sql<(Text, BigInt)> {
    Sql::new("SELECT order_id, sequence FROM dead_letters WHERE sink = ")
        .text(sink)
        .sql(" AND order_id = ANY(")
        .texts(orders.iter().map(ToString::to_string).collect())
        .sql(")")
}

async fn load_held_back(
    connection: &mut AsyncPgConnection,
    query: &Sql<(Text, BigInt)>,
) -> Result<BTreeMap<OrderId, i64>, Failure> {
    let rows: Vec<(String, i64)> = query.load(connection).await?;
    let invalid =
        |order_id: &str, why| Failure::Inconsistent(format!("dead_letters {order_id:?}: order_id {why}"));
    let parse = |(order_id, sequence): (String, i64)| match OrderId::parse(&order_id) {
        Ok(parsed) => Ok((parsed, sequence)),
        Err(why) => Err(invalid(&order_id, why)),
    };
    rows.into_iter().map(parse).collect()
}

fn dead_letters(sink: &str, after: Option<&OrderId>, limit: usize) -> Sql<DeadLetterColumns> {
    // No id is empty, so every id is greater than the empty string.
    let after = after.map(OrderId::as_str).unwrap_or_default();
    let query = Sql::new("SELECT ").sql(DEAD_LETTER).sql(" FROM dead_letters WHERE sink = ").text(sink);
    query.sql(" AND order_id > ").text(after).sql(" ORDER BY order_id LIMIT ").limit(limit)
}

fn resolved_dead_letters(sink: &str, limit: usize) -> Sql<DeadLetterColumns> {
    let query = Sql::new("SELECT ").sql(DEAD_LETTER).sql(" FROM dead_letters WHERE sink = ").text(sink);
    query.sql(" AND resolution IS NOT NULL ORDER BY order_id LIMIT ").limit(limit)
}

async fn load_dead_letters(
    connection: &mut AsyncPgConnection,
    query: &Sql<DeadLetterColumns>,
) -> Result<Vec<DeadLetter>, Failure> {
    let rows: Vec<DeadLetterRow> = query.load(connection).await?;
    let parse = |row: DeadLetterRow| {
        let order_id = row.order_id.clone();
        DeadLetter::try_from(row).map_err(|fault| Failure::row("dead_letters", &order_id, &fault))
    };
    rows.into_iter().map(parse).collect()
}

fn resolve(sink: &str, order_id: &OrderId, resolution: Resolution) -> Sql<()> {
    Sql::new("UPDATE dead_letters SET resolution = ")
        .text(DeadLetterRow::resolution_text(resolution))
        .sql(" WHERE sink = ")
        .text(sink)
        .sql(" AND order_id = ")
        .text(order_id.as_str())
}

/// Locks the row of the cursor, so that the fencing token is not raised before
/// the commit.
fn remove_dead_letter(token: &LeaseToken, dead_letter: &DeadLetter) -> Sql<BigInt> {
    Sql::new("WITH led AS (SELECT sink, fence FROM outbox_cursors WHERE sink = ")
        .text(token.sink.as_str())
        .sql(" AND fence = ")
        .integer(token.fencing_token)
        .sql(" FOR UPDATE), gone AS (DELETE FROM dead_letters USING led WHERE dead_letters.sink = led.sink AND order_id = ")
        .text(dead_letter.order_id.as_str())
        .sql(" AND sequence = ")
        .integer(dead_letter.sequence)
        .sql(") SELECT fence FROM led")
}

fn record_leader_status(token: &LeaseToken, status: &LeaderStatus) -> Sql<BigInt> {
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
    let statement = statement.sql(" WHERE sink = ").text(token.sink.as_str());
    statement.sql(" AND fence = ").integer(token.fencing_token).sql(" RETURNING fence")
}

fn status(sink: &str) -> Sql<CursorColumns> {
    Sql::new(
        "SELECT position, leader, led_since, failure, failed_at, stopped, \
         (SELECT count(*) FROM dead_letters WHERE dead_letters.sink = outbox_cursors.sink), \
         EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 7370362 AND objid = 4 \
         AND objsubid = 2 AND granted AND database = (SELECT oid FROM pg_database \
         WHERE datname = current_database())) \
         FROM outbox_cursors WHERE sink = ",
    )
    .text(sink)
}

async fn load_status(
    connection: &mut AsyncPgConnection,
    query: &Sql<CursorColumns>,
    sink: &str,
) -> Result<Option<OutboxStatus>, Failure> {
    let rows: Vec<(CursorRow, bool)> = query.load(connection).await?;
    let status = |(row, has_leader): (CursorRow, bool)| row.status(has_leader);
    let found = rows.into_iter().next().map(status).transpose();
    found.map_err(|fault| Failure::row("outbox_cursors", sink, &fault))
}
