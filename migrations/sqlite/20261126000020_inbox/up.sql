-- The inbox of `pvz consume`: positions, events and statistics.

-- The partitions of a source and their leases. Any consumer may take an expired
-- lease; taking one raises the fencing token.
CREATE TABLE inbox_partitions (
    source     TEXT    NOT NULL CHECK (length(source) >= 1),
    partition  INTEGER NOT NULL CHECK (partition >= 0),
    -- The next offset to read; NULL if nothing was read.
    position   INTEGER,
    consumer   TEXT,
    fence      INTEGER NOT NULL CHECK (fence >= 0),
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (source, partition)
) STRICT, WITHOUT ROWID;

-- The running consumers, from which each computes its fair share.
CREATE TABLE inbox_consumers (
    source     TEXT    NOT NULL,
    consumer   TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (source, consumer)
) STRICT, WITHOUT ROWID;

-- Each event once.
CREATE TABLE inbox_events (
    event_id    BLOB    NOT NULL,
    order_id    TEXT    NOT NULL,
    sequence    INTEGER NOT NULL CHECK (sequence >= 1),
    type        TEXT    NOT NULL,
    actor_kind  TEXT    NOT NULL,
    actor_id    TEXT    NOT NULL,
    request_id  TEXT,
    occurred_at INTEGER NOT NULL,
    body        BLOB    NOT NULL,
    traceparent TEXT,
    UNIQUE (order_id, sequence)
) STRICT;

-- How many events of an order were read, and their highest sequence. The order
-- has a gap where the two differ.
CREATE TABLE inbox_orders (
    order_id TEXT    NOT NULL PRIMARY KEY,
    seen     INTEGER NOT NULL CHECK (seen >= 1),
    highest  INTEGER NOT NULL CHECK (highest >= seen)
) STRICT, WITHOUT ROWID;

CREATE INDEX inbox_orders_with_gaps ON inbox_orders (order_id) WHERE seen < highest;

-- By pickup point, day (since 1970-01-01, UTC) and currency; sums in minor units.
CREATE TABLE inbox_statistics (
    pickup_point_id   TEXT    NOT NULL,
    day               INTEGER NOT NULL,
    currency          TEXT    NOT NULL,
    accepted          INTEGER NOT NULL,
    issued            INTEGER NOT NULL,
    returned          INTEGER NOT NULL,
    handed_to_courier INTEGER NOT NULL,
    surcharge_minor   INTEGER NOT NULL,
    accepted_minor    INTEGER NOT NULL,
    issued_minor      INTEGER NOT NULL,
    returned_minor    INTEGER NOT NULL,
    PRIMARY KEY (pickup_point_id, day, currency)
) STRICT, WITHOUT ROWID;

-- Events of a type or version that this release does not know, unchanged, for a
-- release that does.
CREATE TABLE inbox_unknown (
    source    TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    "offset"  INTEGER NOT NULL,
    cause     TEXT    NOT NULL,
    key       BLOB,
    value     BLOB,
    -- A JSON object of base64 strings.
    headers   TEXT    NOT NULL,
    PRIMARY KEY (source, partition, "offset")
) STRICT, WITHOUT ROWID;
