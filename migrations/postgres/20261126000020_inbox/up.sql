-- The inbox of `pvz consume`: positions, events and statistics. The tables may be
-- in the database of the orders or in one of their own.

-- The partitions of a source and their leases. Any consumer may take an expired
-- lease; taking one raises the fencing token.
CREATE TABLE inbox_partitions (
    source     text   COLLATE "C" NOT NULL CHECK (length(source) >= 1),
    partition integer NOT NULL CHECK (partition >= 0),
    -- The next offset to read; NULL if nothing was read.
    position   bigint,
    consumer   text   COLLATE "C",
    fence      bigint NOT NULL CHECK (fence >= 0),
    expires_at bigint NOT NULL,
    PRIMARY KEY (source, partition)
);

-- The running consumers, from which each computes its fair share.
CREATE TABLE inbox_consumers (
    source     text   COLLATE "C" NOT NULL,
    consumer   text   COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (source, consumer)
);

-- Each event once.
CREATE TABLE inbox_events (
    event_id    uuid NOT NULL,
    order_id    text   COLLATE "C" NOT NULL,
    sequence    bigint NOT NULL CHECK (sequence >= 1),
    type        text   COLLATE "C" NOT NULL,
    actor_kind  text   COLLATE "C" NOT NULL,
    actor_id    text   COLLATE "C" NOT NULL,
    request_id  text   COLLATE "C",
    occurred_at bigint NOT NULL,
    body        bytea NOT NULL,
    traceparent text   COLLATE "C",
    PRIMARY KEY (order_id, sequence)
);

-- How many events of an order were read, and their highest sequence. The order
-- has a gap where the two differ.
CREATE TABLE inbox_orders (
    order_id text   COLLATE "C" NOT NULL PRIMARY KEY,
    seen     bigint NOT NULL CHECK (seen >= 1),
    highest  bigint NOT NULL CHECK (highest >= seen)
);

CREATE INDEX inbox_orders_with_gaps ON inbox_orders (order_id) WHERE seen < highest;

-- By pickup point, day (since 1970-01-01, UTC) and currency; sums in minor units.
CREATE TABLE inbox_statistics (
    pickup_point_id   text   COLLATE "C" NOT NULL,
    day               integer NOT NULL,
    currency          text   COLLATE "C" NOT NULL,
    accepted          bigint NOT NULL,
    issued            bigint NOT NULL,
    returned          bigint NOT NULL,
    handed_to_courier bigint NOT NULL,
    surcharge_minor   bigint NOT NULL,
    accepted_minor    bigint NOT NULL,
    issued_minor      bigint NOT NULL,
    returned_minor    bigint NOT NULL,
    PRIMARY KEY (pickup_point_id, day, currency)
);

-- Events of a type or version that this release does not know, unchanged, for a
-- release that does.
CREATE TABLE inbox_unknown (
    source    text   COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset"  bigint NOT NULL,
    cause     text   COLLATE "C" NOT NULL,
    key       bytea,
    value     bytea,
    -- A JSON object of base64 strings.
    headers   text   COLLATE "C" NOT NULL,
    PRIMARY KEY (source, partition, "offset")
);
