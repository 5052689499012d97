-- The lock under which one replica at a time drops an empty partition is taken
-- by the function, and has a number of its own. It had the number of the relays'
-- leader lock, (7370362, 4), so nothing was dropped while there was a leader.
-- Replicas of the previous release take that lock first, and then this one too.
CREATE OR REPLACE FUNCTION order_events_drop_empty(mark bigint) RETURNS bigint LANGUAGE plpgsql
SET lock_timeout = '50ms' AS $$
DECLARE
    name text;
    used boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7370362, 5) THEN
        RETURN 0;
    END IF;
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
