-- The functions that create and drop partitions run with the rights of their
-- owner, the role that migrates. So the role that serves needs no right to
-- create tables or to drop them, and owns none. Nobody else may call the
-- functions without a grant (docs/postgres.md).
--
-- A caller cannot do harm with the arguments: the number of partitions ahead is
-- limited, and so is the mark, because only partitions before the last position
-- are of no more use.
CREATE OR REPLACE FUNCTION order_events_make_room(ahead bigint) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER AS $$
DECLARE
    size    CONSTANT bigint := 10000000;
    current bigint;
    made    bigint := 0;
    first   bigint;
    name    text;
BEGIN
    SELECT (last_value - 1) / size INTO current FROM order_events_position_seq;
    FOR number IN current .. current + least(ahead, 10) LOOP
        first := number * size + 1;
        name := 'order_events_' || first;
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE order_events INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE order_events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       name, first, first + size);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

CREATE OR REPLACE FUNCTION order_events_drop_empty(mark bigint) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET lock_timeout = '50ms' AS $$
DECLARE
    limited bigint;
    name text;
    used boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7370362, 5) THEN
        RETURN 0;
    END IF;
    SELECT least(mark, last_value) INTO limited FROM order_events_position_seq;
    FOR name IN
        SELECT part.relname FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid
        WHERE inhparent = 'order_events'::regclass
          AND (regexp_match(pg_get_expr(part.relpartbound, part.oid), 'TO \(''(\d+)''\)'))[1]::bigint <= limited + 1
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

-- The schema of the log, and no other: a caller could otherwise put a table of
-- its own in front of the log, as a temporary table is.
DO $$
DECLARE
    home text;
BEGIN
    SELECT nspname INTO home
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = 'order_events'::regclass;
    EXECUTE format('ALTER FUNCTION order_events_make_room(bigint) SET search_path = %I, pg_temp', home);
    EXECUTE format('ALTER FUNCTION order_events_drop_empty(bigint) SET search_path = %I, pg_temp', home);
END
$$;

REVOKE EXECUTE ON FUNCTION order_events_make_room(bigint), order_events_drop_empty(bigint) FROM PUBLIC;

COMMENT ON FUNCTION order_events_make_room(bigint) IS
    'Attaches the partition of the last position and that many after it, with the rights of its owner; returns how many are new.';
COMMENT ON FUNCTION order_events_drop_empty(bigint) IS
    'Drops one empty partition at or below that position, with the rights of its owner; returns how many it dropped.';
