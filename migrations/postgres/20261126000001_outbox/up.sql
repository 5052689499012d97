-- How far the log was published to each sink, and by whom. Whoever leads raises
-- the fence, and only who has the last one moves the cursor.
CREATE TABLE outbox_cursors (
    sink       text   COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(sink) >= 1),
    fence      bigint NOT NULL CHECK (fence >= 1),
    -- The position of the last event that the sink has acknowledged.
    position   bigint NOT NULL CHECK (position >= 0),
    -- For operators: who led last and since when, and what failed last.
    leader     text   COLLATE "C",
    led_since  bigint,
    failure    text   COLLATE "C",
    failed_at  bigint,

    CONSTRAINT outbox_cursors_leader CHECK ((leader IS NULL) = (led_since IS NULL)),
    CONSTRAINT outbox_cursors_failure CHECK ((failure IS NULL) = (failed_at IS NULL))
) WITH (
    -- The one row of a sink changes ten times a second under load: room for its
    -- versions on the page keeps every change heap-only.
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

-- The first event of an order that a sink refused for its own sake; the later
-- ones of the order are held back with it.
CREATE TABLE dead_letters (
    sink       text   COLLATE "C" NOT NULL,
    order_id   text   COLLATE "C" NOT NULL,
    sequence   bigint NOT NULL CHECK (sequence >= 1),
    position   bigint NOT NULL CHECK (position >= 1),
    cause      text   COLLATE "C" NOT NULL,
    buried_at  bigint NOT NULL,
    -- What an operator wants done with it, until the relay has done it.
    resolution text   COLLATE "C" CHECK (resolution IN ('RETRY', 'DROP')),
    PRIMARY KEY (sink, order_id)
);

CREATE INDEX dead_letters_resolved ON dead_letters (sink, order_id) WHERE resolution IS NOT NULL;
