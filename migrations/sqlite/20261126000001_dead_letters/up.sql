-- The operator's decision on a dead letter, until the relay has carried it out.
ALTER TABLE dead_letters ADD COLUMN resolution TEXT CHECK (resolution IN ('RETRY', 'DROP'));

CREATE INDEX dead_letters_resolved ON dead_letters (sink, order_id) WHERE resolution IS NOT NULL;

-- For operators: the last leader and its last failure.
ALTER TABLE outbox_cursors ADD COLUMN leader TEXT;
ALTER TABLE outbox_cursors ADD COLUMN led_since INTEGER;
ALTER TABLE outbox_cursors ADD COLUMN failure TEXT;
ALTER TABLE outbox_cursors ADD COLUMN failed_at INTEGER;
