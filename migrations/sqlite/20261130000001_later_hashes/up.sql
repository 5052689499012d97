-- Hashes of request fields that were added after the first release: a
-- pvz.storage.v1.LaterHashes, NULL if the request had none of them.
ALTER TABLE idempotency ADD COLUMN later_hashes BLOB;
