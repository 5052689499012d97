-- The state of the sink that a relay found or an operator accepted; and for
-- operators, the reason why nothing is published.
ALTER TABLE outbox_cursors
    ADD COLUMN partitions      bigint CHECK (partitions >= 0),
    ADD COLUMN accepted_events text COLLATE "C",
    ADD COLUMN stopped         text COLLATE "C";

COMMENT ON COLUMN outbox_cursors.partitions IS 'The number of partitions of the sink.';
COMMENT ON COLUMN outbox_cursors.accepted_events IS
    'Ids of events that the sink has and the log has not, accepted by an operator, separated by spaces.';
COMMENT ON COLUMN outbox_cursors.stopped IS
    'The reason why the leader publishes nothing until an operator decides.';

-- An operator can have events published again. The cursor moves back under a new
-- fencing token, so that the leader loses its lease.
CREATE OR REPLACE FUNCTION outbox_cursors_never_move_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'fencing tokens never move back, and cursors only under a new one';
END
$$;

DROP TRIGGER outbox_cursors_never_move_back ON outbox_cursors;
CREATE TRIGGER outbox_cursors_never_move_back BEFORE UPDATE ON outbox_cursors
    FOR EACH ROW
    WHEN (NEW.fence < OLD.fence OR (NEW.position < OLD.position AND NEW.fence = OLD.fence))
    EXECUTE FUNCTION outbox_cursors_never_move_back();

COMMENT ON FUNCTION outbox_cursors_never_move_back() IS
    'Refuses to move a fencing token back, or a cursor under the same token.';
