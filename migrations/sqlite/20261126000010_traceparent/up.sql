-- The trace that the command belonged to, if its caller named one.
ALTER TABLE order_events ADD COLUMN traceparent TEXT CHECK (length(traceparent) = 55);
