// Tests a client generated from the OpenAPI document. The TypeScript compiler checks
// the requests and responses against the document.
//
//     node client.js BASE_URL

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const baseUrl = process.argv[2]!;
const api = createClient<paths>({ baseUrl });
const storageUntil = new Date(Date.now() + 30 * 24 * 3600 * 1000).toISOString();

const accept = () =>
  api.POST("/v1/orders", {
    params: { header: { "Idempotency-Key": "accept-1", "pvz-actor": "courier:7" } },
    body: { orderId: "1", customerId: "123", storageUntil, weightGrams: 1500, packaging: ["box", "film"] },
  });
const accepted = await accept();
const order: components["schemas"]["Order"] = accepted.data!.order;
assert.equal(order.state, "ORDER_STATE_STORED");
assert.equal(order.totalPriceMinor, "2100");
const repeated = await accept();
assert.equal(repeated.response.headers.get("idempotent-replayed"), "true");
assert.deepEqual(repeated.data, accepted.data);

const found = await api.GET("/v1/orders/{order_id}", { params: { path: { order_id: "1" } } });
assert.deepEqual(found.data, order);
const etag = found.response.headers.get("etag")!;
const unchanged = await api.GET("/v1/orders/{order_id}", {
  params: { path: { order_id: "1" }, header: { "If-None-Match": etag } },
});
assert.equal(unchanged.response.status, 304);

const missing = await api.GET("/v1/orders/{order_id}", { params: { path: { order_id: "2" } } });
const problem: components["schemas"]["Problem"] = missing.error!;
assert.equal(problem.reason, "ORDER_NOT_FOUND");
assert.equal(problem.metadata["order_id"], "2");

const batch = await api.POST("/v1/orders:issue", { body: { orderIds: ["1", "2"], mode: "BATCH_MODE_ATOMIC" } });
assert.equal(batch.error!.refusedTotal, 1);
assert.equal(batch.error!.errors![0]!.orderId, "2");
const issued = await api.POST("/v1/orders:issue", {
  body: { orderIds: ["1", "2"], customerId: "123", mode: "BATCH_MODE_PARTIAL" },
});
// A result is an order or a refusal, and the compiler knows which.
const outcomes = issued.data!.results.map((result) => {
  // @ts-expect-error: it may be a refusal.
  void result.order;
  return "order" in result ? result.order.state : result.refusal.reason;
});
assert.deepEqual(outcomes, ["ORDER_STATE_ISSUED", "ORDER_NOT_FOUND"]);

const list = await api.GET("/v1/orders", {
  params: { query: { states: ["ORDER_STATE_ISSUED", "ORDER_STATE_STORED"], pageSize: 5, expired: false } },
});
assert.deepEqual(
  list.data!.orders.map((item) => item.orderId),
  ["1"],
);
const feed = await api.GET("/v1/events", { params: { query: { after: "0" } } });
assert.deepEqual(
  feed.data!.events.map((event) => event.type),
  ["EVENT_TYPE_ORDER_ACCEPTED", "EVENT_TYPE_ORDER_ISSUED"],
);

const rows = ["2", "3", "bad id"].map((orderId) => JSON.stringify({ orderId, customerId: "1", storageUntil }));
const imported = await api.POST("/v1/orders:import", {
  body: rows.join("\n"),
  bodySerializer: (body) => body,
  headers: { "content-type": "application/x-ndjson" },
  parseAs: "text",
});
const results: components["schemas"]["ImportOrdersResponse"][] = imported
  .data!.trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));
assert.deepEqual(results.map(({ result }) => ("refusal" in result ? result.refusal.reason : "OK")).sort(), [
  "OK",
  "OK",
  "VALIDATION_FAILED",
]);
console.log("the generated client works");
