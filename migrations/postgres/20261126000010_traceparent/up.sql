-- The trace of the command, if its caller sent one. Nothing is rewritten or
-- scanned: the column is nullable, and the constraint is not validated because
-- no row can violate it yet. Both lock the table for a moment, so the step gives
-- up rather than queue in front of the running service.
SET LOCAL lock_timeout = '5s';
ALTER TABLE order_events ADD COLUMN traceparent text COLLATE "C";
ALTER TABLE order_events
    ADD CONSTRAINT order_events_traceparent CHECK (length(traceparent) = 55) NOT VALID;
