-- Events that a consumer did not count, because it had applied another event with
-- their order and sequence.
CREATE TABLE inbox_conflicts (
    order_id         TEXT    NOT NULL,
    sequence         INTEGER NOT NULL CHECK (sequence >= 1),
    event_id         BLOB    NOT NULL CHECK (length(event_id) = 16),
    applied_event_id BLOB    NOT NULL CHECK (applied_event_id <> event_id),
    source           TEXT    NOT NULL,
    partition        INTEGER NOT NULL CHECK (partition >= 0),
    -- A pvz.v1.Event as JSON.
    event            TEXT    NOT NULL,
    PRIMARY KEY (order_id, sequence, event_id)
) STRICT, WITHOUT ROWID;
