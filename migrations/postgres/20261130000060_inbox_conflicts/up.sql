-- Events that a consumer did not count, because it had applied another event with
-- their order and sequence.
CREATE TABLE inbox_conflicts (
    order_id         text   COLLATE "C" NOT NULL,
    sequence         bigint NOT NULL CHECK (sequence >= 1),
    event_id         uuid NOT NULL,
    applied_event_id uuid NOT NULL CHECK (applied_event_id <> event_id),
    source           text   COLLATE "C" NOT NULL,
    partition        integer NOT NULL CHECK (partition >= 0),
    event            text   COLLATE "C" NOT NULL,
    PRIMARY KEY (order_id, sequence, event_id)
);

COMMENT ON TABLE inbox_conflicts IS
    'Events that a consumer put aside and did not count, because it had applied another event with their order and sequence. Each once.';
COMMENT ON COLUMN inbox_conflicts.order_id IS 'The order of both events.';
COMMENT ON COLUMN inbox_conflicts.sequence IS 'The number of both events within the order.';
COMMENT ON COLUMN inbox_conflicts.event_id IS 'The UUIDv7 of the event that was put aside.';
COMMENT ON COLUMN inbox_conflicts.applied_event_id IS 'The UUIDv7 of the event that was applied; it is in inbox_events.';
COMMENT ON COLUMN inbox_conflicts.source IS 'The source of the event that was put aside.';
COMMENT ON COLUMN inbox_conflicts.partition IS 'The number of its partition.';
COMMENT ON COLUMN inbox_conflicts.event IS 'The event that was put aside: a pvz.v1.Event as JSON.';
