-- Lists merge one scan for each state that they show. Without the state in the index, a list of
-- issued orders visits every order that was accepted after the newest issued one. The state is an
-- expression, so that a statement chooses its index: `state || ''` is served by these, and
-- `state = 'STORED'` or `'RETURNED'` by the partial ones. A change of state adds an entry to each
-- index anyway.
DROP INDEX orders_by_point;
DROP INDEX orders_by_acceptance;
CREATE INDEX orders_by_point_and_state ON orders (pickup_point_id, (state || ''), accepted_at, order_id)
    WITH (deduplicate_items = off);
CREATE INDEX orders_by_state ON orders ((state || ''), accepted_at, order_id) WITH (deduplicate_items = off);
