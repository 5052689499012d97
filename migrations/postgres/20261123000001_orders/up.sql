-- Requires PostgreSQL 14. Instants are microseconds since 1970-01-01T00:00:00Z,
-- amounts minor units. Keys are compared byte by byte (COLLATE "C"), which is
-- also cheaper than the collation of a language.

-- Values are checked by their type and not by the table: the checks of types
-- are prepared once per session, those of tables by every statement. The log
-- has plain types and checks because other programs read it (docs/cdc.md).

-- Checks length and first character only: readers parse the keys anyway. No
-- regular expressions: they are slower.
CREATE DOMAIN key_text AS text COLLATE "C" CHECK (
    length(VALUE) BETWEEN 1 AND 64
    AND (ascii(VALUE) BETWEEN 48 AND 57 OR ascii(VALUE) BETWEEN 65 AND 90 OR ascii(VALUE) BETWEEN 97 AND 122)
);
CREATE DOMAIN request_key AS text COLLATE "C" CHECK (length(VALUE) BETWEEN 1 AND 128);
-- The years 1 to 9999.
CREATE DOMAIN instant AS bigint CHECK (VALUE BETWEEN -62135596800000000 AND 253402300799999999);
CREATE DOMAIN grams AS bigint CHECK (VALUE BETWEEN 1 AND 100000);
CREATE DOMAIN minor_units AS bigint CHECK (VALUE BETWEEN 0 AND 1000000000000);
CREATE DOMAIN currency_code AS text COLLATE "C"
    CHECK (length(VALUE) = 3 AND translate(VALUE, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', '') = '');
CREATE DOMAIN order_version AS bigint CHECK (VALUE >= 1);
CREATE DOMAIN method_name AS text COLLATE "C"
    CHECK (VALUE IN ('AcceptOrder', 'ImportOrders', 'IssueOrders', 'AcceptReturn', 'ReturnToCourier'));
CREATE DOMAIN field_hashes AS bytea CHECK (length(VALUE) % 16 = 0);

CREATE TABLE orders (
    order_id             key_text      NOT NULL PRIMARY KEY,
    customer_id          key_text      NOT NULL,
    pickup_point_id      key_text      NOT NULL,
    state                text COLLATE "C" NOT NULL,
    storage_until        instant       NOT NULL,
    accepted_at          instant       NOT NULL,
    issued_at            instant,
    returned_at          instant,
    handed_to_courier_at instant,
    weight_grams         grams,
    price_minor          minor_units   NOT NULL,
    surcharge_minor      minor_units   NOT NULL,
    currency             currency_code NOT NULL,
    packaging            text COLLATE "C" NOT NULL,
    version              order_version NOT NULL,

    -- A state implies which instants are set, and none is before the previous
    -- one. Kept short because every write evaluates it.
    CONSTRAINT orders_state CHECK (
        state = CASE
            WHEN handed_to_courier_at IS NOT NULL THEN 'HANDED_TO_COURIER'
            WHEN returned_at IS NOT NULL THEN 'RETURNED'
            WHEN issued_at IS NOT NULL THEN 'ISSUED'
            ELSE 'STORED'
        END
        AND (issued_at IS NULL OR issued_at >= accepted_at)
        AND (returned_at IS NULL OR issued_at IS NOT NULL AND returned_at >= issued_at)
        AND (handed_to_courier_at IS NULL
             OR (issued_at IS NULL) = (returned_at IS NULL)
                AND handed_to_courier_at >= coalesce(returned_at, accepted_at))
    )
) WITH (
    -- Most orders change once or twice. Vacuum at 2 % of dead rows instead of
    -- 20 %, which would be millions.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

-- For the lists, newest first, which read these indexes backwards. New orders
-- go to the end of an ascending index, or of one customer's or pickup point's
-- part of it, so its pages stay full. A descending index would split them in
-- the middle. Keys are unique apart from dead row versions, so deduplication
-- would find nothing.
CREATE INDEX orders_by_customer ON orders (customer_id, accepted_at, order_id) WITH (deduplicate_items = off);
CREATE INDEX orders_by_point ON orders (pickup_point_id, accepted_at, order_id) WITH (deduplicate_items = off);
CREATE INDEX orders_by_acceptance ON orders (accepted_at, order_id) WITH (deduplicate_items = off);
-- The orders that are at the pickup point now, so that the lists of stored,
-- expired and returned orders do not scan years of history. The cost: with the
-- state in a predicate, every change of state adds an entry to each index (no
-- heap-only update). Further such indexes add almost nothing to that.
CREATE INDEX orders_stored ON orders (pickup_point_id, storage_until, order_id)
    WITH (deduplicate_items = off) WHERE state = 'STORED';
CREATE INDEX orders_returned_by_point ON orders (pickup_point_id, returned_at, order_id)
    WITH (deduplicate_items = off) WHERE state = 'RETURNED';
-- Returned orders of all pickup points. The predicate is equivalent to
-- state = 'RETURNED' (orders_state) but written differently on purpose:
-- otherwise the planner may read a list of all pickup points from the index by
-- pickup point and sort it, which looks as cheap while the statistics show few
-- returned orders.
CREATE INDEX orders_returned ON orders (returned_at, order_id) WITH (deduplicate_items = off)
    WHERE returned_at IS NOT NULL AND handed_to_courier_at IS NULL;

-- The history, the audit trail and the outbox. The sequence must not cache
-- positions: the low-water mark of the feed does not account for them.
CREATE SEQUENCE order_events_position_seq CACHE 1;

-- Partitioned by position, so that the feed reads one partition and old ones
-- can be detached. No foreign key to orders: it would look up and lock a row
-- for each event, and the batch that writes the event has done so already.
CREATE TABLE order_events (
    position    bigint NOT NULL DEFAULT nextval('order_events_position_seq'),
    event_id    uuid   NOT NULL,
    order_id    text   COLLATE "C" NOT NULL,
    sequence    bigint NOT NULL,
    type        text   COLLATE "C" NOT NULL,
    actor_kind  text   COLLATE "C" NOT NULL,
    actor_id    text   COLLATE "C" NOT NULL,
    request_id  text   COLLATE "C",
    occurred_at bigint NOT NULL,
    -- The order after the event: a pvz.v1.Order.
    body        bytea  NOT NULL,

    CONSTRAINT order_events_sequence CHECK (sequence >= 1),
    CONSTRAINT order_events_type CHECK (
        type IN ('ORDER_ACCEPTED', 'ORDER_ISSUED', 'ORDER_RETURNED', 'ORDER_HANDED_TO_COURIER')
    ),
    CONSTRAINT order_events_actor CHECK (
        actor_kind IN ('courier', 'operator', 'customer', 'system') AND length(actor_id) BETWEEN 1 AND 64
    ),
    CONSTRAINT order_events_request_id CHECK (length(request_id) BETWEEN 1 AND 128),
    PRIMARY KEY (position)
) PARTITION BY RANGE (position);

ALTER SEQUENCE order_events_position_seq OWNED BY order_events.position;

-- The history of an order. Not unique: a unique index of a partitioned table
-- must contain the position. The lock on the order's row and its version guard
-- the sequence, and `pvz verify` checks it.
CREATE INDEX order_events_by_order ON order_events (order_id, sequence) WITH (deduplicate_items = off);

-- A transaction that inserts events holds an advisory lock whose number is the
-- last position given before. The feed reads up to the lowest such number:
-- events at or below it are visible or never will be. Every insert through
-- order_events takes the lock, manual ones too. Never insert into a partition
-- directly.
CREATE FUNCTION order_events_low_water() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(
        (1::bigint << 62) | (CASE WHEN is_called THEN last_value ELSE last_value - 1 END))
    FROM order_events_position_seq;
    RETURN NULL;
END
$$;

CREATE TRIGGER order_events_low_water BEFORE INSERT ON order_events
    FOR EACH STATEMENT EXECUTE FUNCTION order_events_low_water();

CREATE FUNCTION order_events_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed and never deleted';
END
$$;

CREATE TRIGGER order_events_are_kept BEFORE UPDATE OR DELETE ON order_events
    FOR EACH ROW EXECUTE FUNCTION order_events_are_kept();
CREATE TRIGGER order_events_are_not_truncated BEFORE TRUNCATE ON order_events
    FOR EACH STATEMENT EXECUTE FUNCTION order_events_are_kept();

-- Creates the partition of the last position and the given number after it, of
-- ten million positions each, and returns how many are new. A partition is
-- created as a table and then attached, which blocks no reader and no writer.
CREATE FUNCTION order_events_make_room(ahead bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    size    CONSTANT bigint := 10000000;
    current bigint;
    made    bigint := 0;
    first   bigint;
    name    text;
BEGIN
    SELECT (last_value - 1) / size INTO current FROM order_events_position_seq;
    FOR number IN current .. current + ahead LOOP
        first := number * size + 1;
        name := 'order_events_' || first;
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE order_events INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE order_events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       name, first, first + size);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

SELECT order_events_make_room(2);

-- Idempotency records. Not partitioned by time: a partitioned table could not be
-- unique by key.
CREATE TABLE idempotency (
    scope      text COLLATE "C" NOT NULL,
    request_id request_key  NOT NULL,
    method     method_name  NOT NULL,
    -- 16 bytes for each request field of the first release, in message order.
    hashes     field_hashes NOT NULL,
    -- A pvz.storage.v1.StoredAnswer.
    answer     bytea        NOT NULL,
    created_at bigint       NOT NULL,

    PRIMARY KEY (scope, request_id)
);

CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Called by the guard of a batch when another batch committed first. Drivers
-- can tell this error from others, unlike the usual division by zero.
CREATE FUNCTION lost_race() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'another batch was first' USING ERRCODE = 'serialization_failure';
END
$$;

CREATE TABLE store_settings (
    name  text  COLLATE "C" NOT NULL PRIMARY KEY,
    value bytea NOT NULL
);

-- Authenticates page tokens: 244 random bits.
INSERT INTO store_settings (name, value)
VALUES ('secret', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
