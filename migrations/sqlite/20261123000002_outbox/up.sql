-- How far the log was published to each sink. A new leader raises the fencing
-- token, and only the leader with the last one moves the cursor.
CREATE TABLE outbox_cursors (
    sink     TEXT    NOT NULL PRIMARY KEY CHECK (length(sink) >= 1),
    fence    INTEGER NOT NULL CHECK (fence >= 1),
    -- The position of the last event that the sink has acknowledged.
    position INTEGER NOT NULL CHECK (position >= 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER outbox_cursors_never_move_back BEFORE UPDATE ON outbox_cursors
WHEN NEW.position < OLD.position OR NEW.fence < OLD.fence
BEGIN
    SELECT raise(ABORT, 'cursors and fences never move back');
END;

-- The first event of an order that a sink refused because of its content. Later
-- events of the order are held back.
CREATE TABLE dead_letters (
    sink      TEXT    NOT NULL,
    order_id  TEXT    NOT NULL,
    sequence  INTEGER NOT NULL CHECK (sequence >= 1),
    position  INTEGER NOT NULL CHECK (position >= 1),
    cause     TEXT    NOT NULL,
    buried_at INTEGER NOT NULL,
    PRIMARY KEY (sink, order_id)
) STRICT, WITHOUT ROWID;
