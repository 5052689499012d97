-- Drops one empty partition of the log, and returns how many it dropped. The
-- positions of the partition are at or below the given mark, where no event will
-- appear any more, so it stays empty. Partitions are empty when their positions
-- were skipped, as after a restore, or when their events were archived.
--
-- Dropping one locks the whole log for a moment, and a waiting lock request
-- blocks all later ones. So the wait is short, and maintenance tries again.
CREATE FUNCTION order_events_drop_empty(mark bigint) RETURNS bigint LANGUAGE plpgsql
SET lock_timeout = '50ms' AS $$
DECLARE
    name text;
    used boolean;
BEGIN
    FOR name IN
        SELECT part.relname FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid
        WHERE inhparent = 'order_events'::regclass
          AND (regexp_match(pg_get_expr(part.relpartbound, part.oid), 'TO \(''(\d+)''\)'))[1]::bigint <= mark + 1
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO used;
        IF NOT used THEN
            EXECUTE format('DROP TABLE %I', name);
            RETURN 1;
        END IF;
    END LOOP;
    RETURN 0;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$$;
