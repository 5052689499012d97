-- Descriptions of tables and columns: the source of docs/schema-postgres.md and
-- docs/schema-sqlite.md.
-- COMMENT locks a table against other schema changes and vacuum only, but it
-- gives up rather than wait long.
SET LOCAL lock_timeout = '5s';

COMMENT ON TABLE orders IS
    'Orders as they are now: the fold of their events. Instants are microseconds since 1970-01-01T00:00:00Z, amounts minor units of the currency.';
COMMENT ON COLUMN orders.order_id IS 'The key.';
COMMENT ON COLUMN orders.customer_id IS 'The customer who may collect the order.';
COMMENT ON COLUMN orders.pickup_point_id IS 'The pickup point that accepted the order.';
COMMENT ON COLUMN orders.state IS 'STORED, ISSUED, RETURNED or HANDED_TO_COURIER.';
COMMENT ON COLUMN orders.storage_until IS 'The storage deadline.';
COMMENT ON COLUMN orders.accepted_at IS 'When the order was accepted from a courier.';
COMMENT ON COLUMN orders.issued_at IS 'When it was issued to its customer.';
COMMENT ON COLUMN orders.returned_at IS 'When its customer returned it.';
COMMENT ON COLUMN orders.handed_to_courier_at IS 'When it was handed to a courier.';
COMMENT ON COLUMN orders.weight_grams IS 'The weight in grams, if known.';
COMMENT ON COLUMN orders.price_minor IS 'The price.';
COMMENT ON COLUMN orders.surcharge_minor IS 'The surcharge of the packaging, fixed when the order was accepted.';
COMMENT ON COLUMN orders.currency IS 'The ISO 4217 code of the amounts.';
COMMENT ON COLUMN orders.packaging IS
    'The packaging codes, the container first. In the table they are joined by +.';
COMMENT ON COLUMN orders.version IS 'The number of events: the sequence of the last one.';

COMMENT ON TABLE order_events IS
    'Events in the order of their positions: history, audit trail and outbox. Rows are never changed and never deleted.';
COMMENT ON COLUMN order_events.position IS 'The position in the feed.';
COMMENT ON COLUMN order_events.event_id IS 'The UUIDv7 of the event.';
COMMENT ON COLUMN order_events.order_id IS 'The order.';
COMMENT ON COLUMN order_events.sequence IS 'The number of the event within the order: 1, 2, 3 without a gap.';
COMMENT ON COLUMN order_events.type IS 'ORDER_ACCEPTED, ORDER_ISSUED, ORDER_RETURNED or ORDER_HANDED_TO_COURIER.';
COMMENT ON COLUMN order_events.actor_kind IS 'The kind of the actor: courier, operator, customer or system.';
COMMENT ON COLUMN order_events.actor_id IS 'The id of the actor.';
COMMENT ON COLUMN order_events.request_id IS 'The request_id of the command, if it had one.';
COMMENT ON COLUMN order_events.occurred_at IS 'When it happened, in microseconds since 1970-01-01T00:00:00Z.';
COMMENT ON COLUMN order_events.body IS 'The order after the event: a pvz.v1.Order as Protobuf.';
COMMENT ON COLUMN order_events.traceparent IS 'The trace of the command, if its caller sent one.';

COMMENT ON TABLE idempotency IS
    'Idempotency records: the content hashes and the answer of each command that had a request_id.';
COMMENT ON COLUMN idempotency.scope IS 'The scope of the key: the authenticated principal, or empty.';
COMMENT ON COLUMN idempotency.request_id IS 'The request_id that the client sent.';
COMMENT ON COLUMN idempotency.method IS 'The name of the RPC.';
COMMENT ON COLUMN idempotency.hashes IS '16 bytes for each request field of the first release, in message order.';
COMMENT ON COLUMN idempotency.answer IS 'The answer: a pvz.storage.v1.StoredAnswer as Protobuf.';
COMMENT ON COLUMN idempotency.created_at IS
    'When the command was decided, in microseconds since 1970-01-01T00:00:00Z.';
COMMENT ON COLUMN idempotency.later_hashes IS
    'Hashes of request fields added after the first release: a pvz.storage.v1.LaterHashes as Protobuf. NULL if the request had none.';

COMMENT ON TABLE store_settings IS 'Settings of the store.';
COMMENT ON COLUMN store_settings.name IS 'The name of the setting.';
COMMENT ON COLUMN store_settings.value IS 'Its value. secret: 32 random bytes that authenticate page tokens.';

COMMENT ON TABLE outbox_cursors IS 'How far the log was published to each sink.';
COMMENT ON COLUMN outbox_cursors.sink IS 'The sink.';
COMMENT ON COLUMN outbox_cursors.fence IS
    'Raised by each new leader. Only the leader with this fencing token may move the cursor.';
COMMENT ON COLUMN outbox_cursors.position IS 'The position of the last event that the sink acknowledged.';
COMMENT ON COLUMN outbox_cursors.leader IS 'The last leader.';
COMMENT ON COLUMN outbox_cursors.led_since IS
    'When it became the leader, in microseconds since 1970-01-01T00:00:00Z.';
COMMENT ON COLUMN outbox_cursors.failure IS 'The last failure of the leader.';
COMMENT ON COLUMN outbox_cursors.failed_at IS 'When it failed, in microseconds since 1970-01-01T00:00:00Z.';

COMMENT ON TABLE dead_letters IS
    'Events that a sink refused. One row per order: later events of the order are held back.';
COMMENT ON COLUMN dead_letters.sink IS 'The sink that refused the event.';
COMMENT ON COLUMN dead_letters.order_id IS 'The order that is held back.';
COMMENT ON COLUMN dead_letters.sequence IS 'The sequence of the refused event within the order.';
COMMENT ON COLUMN dead_letters.position IS 'Its position in the feed.';
COMMENT ON COLUMN dead_letters.cause IS 'Why the sink refused it.';
COMMENT ON COLUMN dead_letters.buried_at IS 'When it was refused, in microseconds since 1970-01-01T00:00:00Z.';
COMMENT ON COLUMN dead_letters.resolution IS
    'RETRY or DROP, as an operator asked. NULL until then; the row goes when the relay has done it.';

COMMENT ON TABLE inbox_partitions IS 'Partitions of a source, and the consumers that hold their leases.';
COMMENT ON COLUMN inbox_partitions.source IS 'The source.';
COMMENT ON COLUMN inbox_partitions.partition IS 'The number of the partition.';
COMMENT ON COLUMN inbox_partitions.position IS 'The next offset to read. NULL if nothing was read.';
COMMENT ON COLUMN inbox_partitions.consumer IS 'The consumer that holds the lease. NULL if none does.';
COMMENT ON COLUMN inbox_partitions.fence IS
    'Raised by each new lease. Only the consumer with this fencing token may apply events.';
COMMENT ON COLUMN inbox_partitions.expires_at IS
    'When the lease expires, in microseconds since 1970-01-01T00:00:00Z.';

COMMENT ON TABLE inbox_consumers IS 'Running consumers of a source, which determine the fair share of each.';
COMMENT ON COLUMN inbox_consumers.source IS 'The source.';
COMMENT ON COLUMN inbox_consumers.consumer IS 'The name of the consumer.';
COMMENT ON COLUMN inbox_consumers.expires_at IS
    'When it counts as gone, in microseconds since 1970-01-01T00:00:00Z.';

COMMENT ON TABLE inbox_events IS 'Events that a consumer read, each once.';
COMMENT ON COLUMN inbox_events.event_id IS 'The UUIDv7 of the event.';
COMMENT ON COLUMN inbox_events.order_id IS 'The order.';
COMMENT ON COLUMN inbox_events.sequence IS 'The number of the event within the order.';
COMMENT ON COLUMN inbox_events.type IS 'ORDER_ACCEPTED, ORDER_ISSUED, ORDER_RETURNED or ORDER_HANDED_TO_COURIER.';
COMMENT ON COLUMN inbox_events.actor_kind IS 'The kind of the actor: courier, operator, customer or system.';
COMMENT ON COLUMN inbox_events.actor_id IS 'The id of the actor.';
COMMENT ON COLUMN inbox_events.request_id IS 'The request_id of the command, if it had one.';
COMMENT ON COLUMN inbox_events.occurred_at IS 'When it happened, in microseconds since 1970-01-01T00:00:00Z.';
COMMENT ON COLUMN inbox_events.body IS 'The order after the event: a pvz.v1.Order as Protobuf.';
COMMENT ON COLUMN inbox_events.traceparent IS 'The trace of the command, if its caller sent one.';

COMMENT ON TABLE inbox_orders IS 'Events read per order. An order has a gap where the two numbers differ.';
COMMENT ON COLUMN inbox_orders.order_id IS 'The order.';
COMMENT ON COLUMN inbox_orders.seen IS 'How many of its events were read.';
COMMENT ON COLUMN inbox_orders.highest IS 'The highest sequence among them.';

COMMENT ON TABLE inbox_statistics IS 'Sums of events per pickup point, day and currency. Amounts are minor units.';
COMMENT ON COLUMN inbox_statistics.pickup_point_id IS 'The pickup point.';
COMMENT ON COLUMN inbox_statistics.day IS 'The day in UTC: days since 1970-01-01.';
COMMENT ON COLUMN inbox_statistics.currency IS 'The ISO 4217 code of the amounts.';
COMMENT ON COLUMN inbox_statistics.accepted IS 'Orders accepted from couriers.';
COMMENT ON COLUMN inbox_statistics.issued IS 'Orders issued to customers.';
COMMENT ON COLUMN inbox_statistics.returned IS 'Orders returned by customers.';
COMMENT ON COLUMN inbox_statistics.handed_to_courier IS 'Orders handed to couriers.';
COMMENT ON COLUMN inbox_statistics.surcharge_minor IS 'Surcharges of the accepted orders.';
COMMENT ON COLUMN inbox_statistics.accepted_minor IS 'Total prices of the accepted orders.';
COMMENT ON COLUMN inbox_statistics.issued_minor IS 'Total prices of the issued orders.';
COMMENT ON COLUMN inbox_statistics.returned_minor IS 'Total prices of the returned orders.';

COMMENT ON TABLE inbox_unknown IS
    'Records with an event type or version that the consumer does not know, unchanged, for a release that does.';
COMMENT ON COLUMN inbox_unknown.source IS 'The source.';
COMMENT ON COLUMN inbox_unknown.partition IS 'The number of the partition.';
COMMENT ON COLUMN inbox_unknown."offset" IS 'The offset within the partition.';
COMMENT ON COLUMN inbox_unknown.cause IS 'Why it is unknown.';
COMMENT ON COLUMN inbox_unknown.key IS 'The key of the record.';
COMMENT ON COLUMN inbox_unknown.value IS 'The value of the record.';
COMMENT ON COLUMN inbox_unknown.headers IS 'The headers of the record: a JSON object of base64 strings.';

COMMENT ON VIEW orders_view IS
    'Orders for reading with SQL: instants as timestamptz, amounts also in major units, packaging as an array.';
COMMENT ON COLUMN orders_view.expired IS 'Whether the order is STORED and its storage deadline has passed.';
COMMENT ON COLUMN orders_view.weight_kg IS 'The weight in kilograms, if known.';
COMMENT ON COLUMN orders_view.total_price_minor IS 'The price and the surcharge, in minor units.';
COMMENT ON COLUMN orders_view.price IS 'The price, in major units.';
COMMENT ON COLUMN orders_view.surcharge IS 'The surcharge, in major units.';
COMMENT ON COLUMN orders_view.total_price IS 'The price and the surcharge, in major units.';
COMMENT ON COLUMN orders_view.price_minor IS 'The price, in minor units.';
COMMENT ON COLUMN orders_view.surcharge_minor IS 'The surcharge of the packaging, in minor units.';
COMMENT ON COLUMN orders_view.packaging IS 'The packaging codes, the container first.';

COMMENT ON VIEW order_events_view IS 'Events for reading with SQL: instants as timestamptz, without the body.';
COMMENT ON COLUMN order_events_view.state IS 'The state of the order after the event.';
COMMENT ON COLUMN order_events_view.occurred_at IS 'When it happened.';
COMMENT ON COLUMN order_events_view.customer_id IS 'The customer of the order.';
COMMENT ON COLUMN order_events_view.pickup_point_id IS 'The pickup point of the order.';

-- The other columns of the views mean what they mean in the table.
DO $$
DECLARE
    name text;
    meaning text;
    target text;
BEGIN
    FOR target, name, meaning IN
        SELECT pair.target, of_view.attname, col_description(of_table.attrelid, of_table.attnum)
        FROM (VALUES ('orders_view', 'orders'), ('order_events_view', 'order_events')) AS pair (target, source)
        JOIN pg_attribute AS of_view ON of_view.attrelid = pair.target::regclass AND of_view.attnum > 0
        JOIN pg_attribute AS of_table
            ON of_table.attrelid = pair.source::regclass AND of_table.attname = of_view.attname
        WHERE col_description(of_view.attrelid, of_view.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', target, name, meaning);
    END LOOP;
END
$$;

COMMENT ON DOMAIN key_text IS 'The id of an order, customer or pickup point.';
COMMENT ON DOMAIN request_key IS 'A request_id.';
COMMENT ON DOMAIN instant IS 'Microseconds since 1970-01-01T00:00:00Z, in the years 1 to 9999.';
COMMENT ON DOMAIN grams IS 'A weight in grams.';
COMMENT ON DOMAIN minor_units IS 'An amount in minor units.';
COMMENT ON DOMAIN currency_code IS 'An ISO 4217 code.';
COMMENT ON DOMAIN order_version IS 'A number of events.';
COMMENT ON DOMAIN method_name IS 'The name of an RPC that changes orders.';
COMMENT ON DOMAIN field_hashes IS 'Hashes of 16 bytes each.';

COMMENT ON FUNCTION order_events_low_water() IS
    'Announces, by an advisory lock, the last position given before an insert.';
COMMENT ON FUNCTION order_events_are_kept() IS 'Refuses to change or delete events.';
COMMENT ON FUNCTION order_events_make_room(bigint) IS
    'Attaches the partition of the last position and that many after it; returns how many are new.';
COMMENT ON FUNCTION order_events_drop_empty(bigint) IS
    'Drops one empty partition at or below that position; returns how many it dropped.';
COMMENT ON FUNCTION lost_race() IS 'Raises a serialization failure: another batch committed first.';
COMMENT ON FUNCTION outbox_cursors_never_move_back() IS 'Refuses to move a cursor or a fencing token back.';
COMMENT ON FUNCTION instant_timestamptz(bigint) IS
    'Returns an instant in microseconds since 1970-01-01T00:00:00Z as timestamptz.';
