-- Instants are microseconds since 1970-01-01T00:00:00Z, amounts minor units.

CREATE TABLE orders (
    order_id             TEXT    NOT NULL PRIMARY KEY,
    customer_id          TEXT    NOT NULL,
    pickup_point_id      TEXT    NOT NULL,
    state                TEXT    NOT NULL,
    storage_until        INTEGER NOT NULL,
    accepted_at          INTEGER NOT NULL,
    issued_at            INTEGER,
    returned_at          INTEGER,
    handed_to_courier_at INTEGER,
    weight_grams         INTEGER,
    price_minor          INTEGER NOT NULL,
    surcharge_minor      INTEGER NOT NULL,
    currency             TEXT    NOT NULL,
    packaging            TEXT    NOT NULL,
    version              INTEGER NOT NULL,

    -- Length and first character only: checking every character is slow, and
    -- readers parse the keys anyway.
    CONSTRAINT orders_keys CHECK (
        length(order_id) BETWEEN 1 AND 64 AND order_id GLOB '[A-Za-z0-9]*'
        AND length(customer_id) BETWEEN 1 AND 64 AND customer_id GLOB '[A-Za-z0-9]*'
        AND length(pickup_point_id) BETWEEN 1 AND 64 AND pickup_point_id GLOB '[A-Za-z0-9]*'
    ),
    CONSTRAINT orders_amounts CHECK (
        (weight_grams IS NULL OR weight_grams BETWEEN 1 AND 100000)
        AND price_minor BETWEEN 0 AND 1000000000000
        AND surcharge_minor BETWEEN 0 AND 1000000000000
        AND currency GLOB '[A-Z][A-Z][A-Z]'
    ),
    -- The years 1 to 9999.
    CONSTRAINT orders_instants CHECK (
        storage_until BETWEEN -62135596800000000 AND 253402300799999999
        AND accepted_at BETWEEN -62135596800000000 AND 253402300799999999
        AND (issued_at IS NULL OR issued_at BETWEEN accepted_at AND 253402300799999999)
        AND (returned_at IS NULL OR returned_at BETWEEN issued_at AND 253402300799999999)
        AND (handed_to_courier_at IS NULL
             OR handed_to_courier_at BETWEEN coalesce(returned_at, accepted_at) AND 253402300799999999)
    ),
    -- A state implies which instants are set.
    CONSTRAINT orders_state CHECK (
        CASE state
            WHEN 'STORED' THEN issued_at IS NULL AND returned_at IS NULL AND handed_to_courier_at IS NULL
            WHEN 'ISSUED' THEN issued_at IS NOT NULL AND returned_at IS NULL AND handed_to_courier_at IS NULL
            WHEN 'RETURNED' THEN
                issued_at IS NOT NULL AND returned_at IS NOT NULL AND handed_to_courier_at IS NULL
            WHEN 'HANDED_TO_COURIER' THEN
                (issued_at IS NULL) = (returned_at IS NULL) AND handed_to_courier_at IS NOT NULL
            ELSE FALSE
        END
    ),
    CONSTRAINT orders_version CHECK (version >= 1)
) STRICT, WITHOUT ROWID;

-- For the lists, newest first. The indexes ascend and are read backwards: new
-- rows go to the end, which SQLite fills without splitting pages.
CREATE INDEX orders_by_customer ON orders (customer_id, accepted_at, order_id);
CREATE INDEX orders_by_point ON orders (pickup_point_id, accepted_at, order_id);
CREATE INDEX orders_by_acceptance ON orders (accepted_at, order_id);
CREATE INDEX orders_returned ON orders (returned_at, order_id) WHERE state = 'RETURNED';
CREATE INDEX orders_returned_by_point ON orders (pickup_point_id, returned_at, order_id) WHERE state = 'RETURNED';
CREATE INDEX orders_by_deadline ON orders (storage_until) WHERE state = 'STORED';

-- The history, the audit trail and the outbox. AUTOINCREMENT: no position is
-- given twice, even if the last rows were archived.
CREATE TABLE order_events (
    position    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    event_id    BLOB    NOT NULL UNIQUE CHECK (length(event_id) = 16),
    order_id    TEXT    NOT NULL REFERENCES orders (order_id) DEFERRABLE INITIALLY DEFERRED,
    sequence    INTEGER NOT NULL CHECK (sequence >= 1),
    type        TEXT    NOT NULL
        CHECK (type IN ('ORDER_ACCEPTED', 'ORDER_ISSUED', 'ORDER_RETURNED', 'ORDER_HANDED_TO_COURIER')),
    actor_kind  TEXT    NOT NULL CHECK (actor_kind IN ('courier', 'operator', 'customer', 'system')),
    actor_id    TEXT    NOT NULL CHECK (length(actor_id) BETWEEN 1 AND 64),
    request_id  TEXT    CHECK (length(request_id) BETWEEN 1 AND 128),
    occurred_at INTEGER NOT NULL,
    -- The order after the event: a pvz.v1.Order.
    body        BLOB    NOT NULL,
    UNIQUE (order_id, sequence)
) STRICT;

CREATE TRIGGER order_events_are_never_changed BEFORE UPDATE ON order_events
BEGIN
    SELECT raise(ABORT, 'events are never changed');
END;

CREATE TRIGGER order_events_are_never_deleted BEFORE DELETE ON order_events
BEGIN
    SELECT raise(ABORT, 'events are never deleted');
END;

-- Idempotency records.
CREATE TABLE idempotency (
    scope      TEXT    NOT NULL,
    request_id TEXT    NOT NULL CHECK (length(request_id) BETWEEN 1 AND 128),
    method     TEXT    NOT NULL
        CHECK (method IN ('AcceptOrder', 'ImportOrders', 'IssueOrders', 'AcceptReturn', 'ReturnToCourier')),
    -- 16 bytes for each request field of the first release, in message order.
    hashes     BLOB    NOT NULL CHECK (length(hashes) % 16 = 0),
    -- A pvz.storage.v1.StoredAnswer.
    answer     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (scope, request_id)
) STRICT;

CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE store_settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
