-- Lists merge one scan for each state that they show. Without the state in the index, a list of
-- issued orders visits every order that was accepted after the newest issued one.
DROP INDEX orders_by_point;
DROP INDEX orders_by_acceptance;
CREATE INDEX orders_by_point_and_state ON orders (pickup_point_id, state, accepted_at, order_id);
CREATE INDEX orders_by_state ON orders (state, accepted_at, order_id);
