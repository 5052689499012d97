-- The trace that the command belonged to, if its caller named one. Nothing is
-- rewritten, and nothing scanned: the column is nullable, and the constraint is
-- not validated, because no row can break it yet. For both the table is locked
-- for a moment, so this gives way rather than queue before those who serve.
SET LOCAL lock_timeout = '5s';
ALTER TABLE order_events ADD COLUMN traceparent text COLLATE "C";
ALTER TABLE order_events
    ADD CONSTRAINT order_events_traceparent CHECK (length(traceparent) = 55) NOT VALID;
