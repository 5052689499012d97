-- How far the log was published to each sink, and by which leader. A new leader
-- raises the fencing token, and only the leader with the last one moves the cursor.
CREATE TABLE outbox_cursors (
    sink       text   COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(sink) >= 1),
    fence      bigint NOT NULL CHECK (fence >= 1),
    -- The position of the last event that the sink has acknowledged.
    position   bigint NOT NULL CHECK (position >= 0),
    -- For operators: the last leader and its last failure.
    leader     text   COLLATE "C",
    led_since  bigint,
    failure    text   COLLATE "C",
    failed_at  bigint,

    CONSTRAINT outbox_cursors_leader CHECK ((leader IS NULL) = (led_since IS NULL)),
    CONSTRAINT outbox_cursors_failure CHECK ((failure IS NULL) = (failed_at IS NULL))
) WITH (
    -- The row of a sink changes ten times a second under load. Free space for
    -- its versions on the page keeps every update heap-only.
    fillfactor = 10,
    autovacuum_vacuum_threshold = 1000
);

CREATE FUNCTION outbox_cursors_never_move_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'cursors and fences never move back';
END
$$;

CREATE TRIGGER outbox_cursors_never_move_back BEFORE UPDATE ON outbox_cursors
    FOR EACH ROW WHEN (NEW.position < OLD.position OR NEW.fence < OLD.fence)
    EXECUTE FUNCTION outbox_cursors_never_move_back();

-- The first event of an order that a sink refused because of its content. Later
-- events of the order are held back.
CREATE TABLE dead_letters (
    sink       text   COLLATE "C" NOT NULL,
    order_id   text   COLLATE "C" NOT NULL,
    sequence   bigint NOT NULL CHECK (sequence >= 1),
    position   bigint NOT NULL CHECK (position >= 1),
    cause      text   COLLATE "C" NOT NULL,
    buried_at  bigint NOT NULL,
    -- The operator's decision, until the relay has carried it out.
    resolution text   COLLATE "C" CHECK (resolution IN ('RETRY', 'DROP')),
    PRIMARY KEY (sink, order_id)
);

CREATE INDEX dead_letters_resolved ON dead_letters (sink, order_id) WHERE resolution IS NOT NULL;
