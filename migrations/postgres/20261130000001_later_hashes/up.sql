-- Hashes of request fields that were added after the first release: a
-- pvz.storage.v1.LaterHashes, NULL if the request had none of them. Releases
-- before this column neither read nor write it.
-- Adding a nullable column rewrites nothing, but it locks the table for a
-- moment, so it gives up rather than queue in front of the running service.
SET LOCAL lock_timeout = '5s';
ALTER TABLE idempotency ADD COLUMN later_hashes bytea;
