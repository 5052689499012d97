-- Drops a partition of the log that is empty and will stay so, and says how
-- many that were: its positions are at or below a mark at or below which no
-- event will ever appear. Partitions are empty when their positions were
-- skipped, as after a restore, or when their events were archived.
--
-- To drop one locks the whole log for a moment. Whoever waits for that lock
-- holds up all who come later, so nobody waits long: there is a next time.
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
