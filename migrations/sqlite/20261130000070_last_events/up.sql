-- The last event read from a partition. It identifies the log to which the position
-- belongs: a topic that is created again begins at the same offsets. NULL until an
-- event is read.
ALTER TABLE inbox_partitions ADD COLUMN last_event_offset INTEGER;
ALTER TABLE inbox_partitions ADD COLUMN last_event_id BLOB
    CHECK ((last_event_offset IS NULL) = (last_event_id IS NULL));
