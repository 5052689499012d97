-- What an operator wants done with a dead letter, until the relay has done it.
ALTER TABLE dead_letters ADD COLUMN resolution TEXT CHECK (resolution IN ('RETRY', 'DROP'));

CREATE INDEX dead_letters_resolved ON dead_letters (sink, order_id) WHERE resolution IS NOT NULL;

-- For operators: who led last and since when, and what failed last.
ALTER TABLE outbox_cursors ADD COLUMN leader TEXT;
ALTER TABLE outbox_cursors ADD COLUMN led_since INTEGER;
ALTER TABLE outbox_cursors ADD COLUMN failure TEXT;
ALTER TABLE outbox_cursors ADD COLUMN failed_at INTEGER;
