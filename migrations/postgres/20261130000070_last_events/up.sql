-- The last event read from a partition. It identifies the log to which the position
-- belongs: a topic that is created again begins at the same offsets. NULL until an
-- event is read.
SET LOCAL lock_timeout = '5s';

ALTER TABLE inbox_partitions
    ADD COLUMN last_event_offset bigint,
    ADD COLUMN last_event_id uuid,
    ADD CHECK ((last_event_offset IS NULL) = (last_event_id IS NULL));

COMMENT ON COLUMN inbox_partitions.last_event_offset IS
    'The offset of the last event that was read. NULL if none was read since the partition was rewound.';
COMMENT ON COLUMN inbox_partitions.last_event_id IS
    'The UUIDv7 of that event. If another event has its offset, the source is another log.';
