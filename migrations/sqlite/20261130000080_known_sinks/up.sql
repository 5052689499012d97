-- The state of the sink that a relay found or an operator accepted: the number of
-- its partitions, and the ids of events that it has and the log has not, separated
-- by spaces.
ALTER TABLE outbox_cursors ADD COLUMN partitions INTEGER CHECK (partitions >= 0);
ALTER TABLE outbox_cursors ADD COLUMN accepted_events TEXT;
-- For operators: the reason why the leader publishes nothing until they decide.
ALTER TABLE outbox_cursors ADD COLUMN stopped TEXT;

-- An operator can have events published again. The cursor moves back under a new
-- fencing token, so that the leader loses its lease.
DROP TRIGGER outbox_cursors_never_move_back;
CREATE TRIGGER outbox_cursors_never_move_back BEFORE UPDATE ON outbox_cursors
WHEN NEW.fence < OLD.fence OR (NEW.position < OLD.position AND NEW.fence = OLD.fence)
BEGIN
    SELECT raise(ABORT, 'fencing tokens never move back, and cursors only under a new one');
END;
