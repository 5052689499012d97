-- The trace of the command, if its caller sent one.
ALTER TABLE order_events ADD COLUMN traceparent TEXT CHECK (length(traceparent) = 55);
