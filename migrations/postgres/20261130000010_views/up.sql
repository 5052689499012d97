-- Views for reading with SQL (docs/cdc.md): instants as timestamptz, amounts in
-- major units, packaging as an array. The service does not read them.

-- Exact for every instant of the domain: interval arithmetic is in floating
-- point, so seconds and microseconds are multiplied separately.
CREATE FUNCTION instant_timestamptz(micros bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT timestamptz '1970-01-01 00:00:00+00'
        + (micros / 1000000) * interval '1 second' + (micros % 1000000) * interval '1 microsecond'
$$;

CREATE VIEW orders_view AS
SELECT
    order_id::text,
    customer_id::text,
    pickup_point_id::text,
    state,
    state = 'STORED' AND instant_timestamptz(storage_until) <= now() AS expired,
    instant_timestamptz(storage_until) AS storage_until,
    instant_timestamptz(accepted_at) AS accepted_at,
    instant_timestamptz(issued_at) AS issued_at,
    instant_timestamptz(returned_at) AS returned_at,
    instant_timestamptz(handed_to_courier_at) AS handed_to_courier_at,
    weight_grams::bigint,
    (weight_grams / 1000.0)::numeric(9, 3) AS weight_kg,
    price_minor::bigint,
    surcharge_minor::bigint,
    price_minor + surcharge_minor AS total_price_minor,
    (price_minor / 100.0)::numeric(16, 2) AS price,
    (surcharge_minor / 100.0)::numeric(16, 2) AS surcharge,
    ((price_minor + surcharge_minor) / 100.0)::numeric(16, 2) AS total_price,
    currency::text,
    string_to_array(packaging, '+') AS packaging,
    version::bigint
FROM orders;

-- Customer and pickup point are those of the order, which no event changes. A
-- query that uses neither does not read orders.
CREATE VIEW order_events_view AS
SELECT
    event.position,
    event.event_id,
    event.order_id,
    event.sequence,
    event.type,
    CASE event.type
        WHEN 'ORDER_ACCEPTED' THEN 'STORED'
        WHEN 'ORDER_ISSUED' THEN 'ISSUED'
        WHEN 'ORDER_RETURNED' THEN 'RETURNED'
        WHEN 'ORDER_HANDED_TO_COURIER' THEN 'HANDED_TO_COURIER'
    END AS state,
    instant_timestamptz(event.occurred_at) AS occurred_at,
    event.actor_kind,
    event.actor_id,
    event.request_id,
    event.traceparent,
    orders.customer_id::text,
    orders.pickup_point_id::text
FROM order_events AS event LEFT JOIN orders ON orders.order_id = event.order_id;
