-- Needs PostgreSQL 14. Instants are microseconds since 1970-01-01T00:00:00Z,
-- amounts minor units. Keys are compared byte by byte: COLLATE "C", which also
-- costs 15 % less of a batch of accepts than a collation of a language.

-- What a value may be is said by its type, and not by a check of the table: the
-- checks of types are prepared once a session, those of tables by every
-- statement, which was a tenth of a batch of accepts. The log has plain types
-- and checks, since it is read by others too (docs/cdc.md).

-- Length and first character; to look at every character costs more, and
-- readers parse the keys anyway. No regular expressions: they were 3 % of a
-- batch.
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

    -- A state implies which instants there are, and each is not before the last.
    -- What is short here is short for every statement that writes.
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
    -- Most orders change once or twice: dead rows are taken away when they are
    -- 2 % of the table, not 20 %, or millions would wait for it.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

-- The lists, newest first, which read these backwards: what is accepted now
-- goes to the end of an index or of its part, and an index that grows at its end
-- has full pages. With DESC they were split in the middle, and a batch of
-- accepts cost an eighth more. No key here ever changes, and none is there twice
-- but in dead versions, which PostgreSQL looks for in any case: so a full page is
-- split at once, and not searched for equal keys first (3 % of a batch).
CREATE INDEX orders_by_customer ON orders (customer_id, accepted_at, order_id) WITH (deduplicate_items = off);
CREATE INDEX orders_by_point ON orders (pickup_point_id, accepted_at, order_id) WITH (deduplicate_items = off);
CREATE INDEX orders_by_acceptance ON orders (accepted_at, order_id) WITH (deduplicate_items = off);
-- What is at the point now, so that the lists of stored, expired and returned
-- orders do not walk through years of history. The price: an index whose
-- predicate names the state makes every change of it a new entry in each index
-- (no heap-only update), 4.2 in the place of 2.2 ms for 200 orders issued. Once
-- one such index is there, others cost next to nothing more.
CREATE INDEX orders_stored ON orders (pickup_point_id, storage_until, order_id)
    WITH (deduplicate_items = off) WHERE state = 'STORED';
CREATE INDEX orders_returned_by_point ON orders (pickup_point_id, returned_at, order_id)
    WITH (deduplicate_items = off) WHERE state = 'RETURNED';
-- Of all points: RETURNED in other words (orders_state). In the same words a list
-- of all points could be read from the index by point too, and sorted, and
-- while the statistics know of few returned orders that looks as cheap: it took
-- 1.9 ms in the place of 0.1 with 3,000 of them among ten million.
CREATE INDEX orders_returned ON orders (returned_at, order_id) WITH (deduplicate_items = off)
    WHERE returned_at IS NOT NULL AND handed_to_courier_at IS NULL;

-- The history, the audit trail and the outbox. Positions must be given one by
-- one: the low-water mark of the feed knows of no positions kept in reserve.
CREATE SEQUENCE order_events_position_seq CACHE 1;

-- Partitioned by position, so that the feed reads one partition, and old ones
-- can be detached. There is no foreign key to orders: it would look up and lock
-- a row for each event, and the batch that writes the event has both already.
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

-- The history of an order. Not unique, because an index over partitions can
-- only be so together with the position: the lock on the order's row and its
-- version guard the sequence, and `pvz verify` checks it.
CREATE INDEX order_events_by_order ON order_events (order_id, sequence) WITH (deduplicate_items = off);

-- Who inserts events holds a lock whose number is the last position given
-- before. The feed reads up to the lowest such number: what is at or below it
-- is visible, or never will be. Taken for everybody who inserts through
-- order_events, also by hand; insert into no partition directly.
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

-- Makes the partition of the last position and as many after it as asked, of
-- ten million positions each, and says how many it made. A partition is
-- attached, not made in its place: that stops no reader and no writer.
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

-- What makes repeated commands harmless. One table, unique by key: a partition
-- by time could not be.
CREATE TABLE idempotency (
    scope      text COLLATE "C" NOT NULL,
    request_id request_key  NOT NULL,
    method     method_name  NOT NULL,
    -- 16 bytes for each field that counts, in message order.
    hashes     field_hashes NOT NULL,
    -- A pvz.storage.v1.StoredAnswer.
    answer     bytea        NOT NULL,
    created_at bigint       NOT NULL,

    PRIMARY KEY (scope, request_id)
);

CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- The guard of a batch calls it when another batch was first. This error, and
-- not the classic division by zero, because drivers tell it from others.
CREATE FUNCTION lost_race() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'another batch was first' USING ERRCODE = 'serialization_failure';
END
$$;

CREATE TABLE store_settings (
    name  text  COLLATE "C" NOT NULL PRIMARY KEY,
    value bytea NOT NULL
);

-- It authenticates page tokens: 244 random bits.
INSERT INTO store_settings (name, value)
VALUES ('secret', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
