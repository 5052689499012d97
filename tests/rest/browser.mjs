// Tests Swagger UI in a browser, behind a proxy that serves pvz below a path: the page
// loads without errors and without requests to other addresses, and "Execute", pressed
// from top to bottom on a new store, gets the documented answers.
//
//     node browser.mjs CHROMIUM BASE_URL SCREENSHOT

import assert from "node:assert/strict";
import { createServer, request as send } from "node:http";
import { chromium } from "playwright-core";

const PREFIX = "/pvz";
// A new store has no dead letters.
const REFUSED = { retryDeadLetter: 404, dropDeadLetter: 404 };

const [executablePath, server, screenshot] = process.argv.slice(2);
const proxy = createServer((incoming, outgoing) => {
  if (!incoming.url.startsWith(`${PREFIX}/`)) return outgoing.writeHead(502).end();
  const { method, headers } = incoming;
  const path = incoming.url.slice(PREFIX.length);
  const forwarded = send(`${server}${path}`, { method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode, answer.headers);
    answer.pipe(outgoing);
  });
  forwarded.on("error", () => outgoing.destroy());
  outgoing.on("close", () => forwarded.destroy());
  incoming.pipe(forwarded);
});
await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));
const base = `http://127.0.0.1:${proxy.address().port}${PREFIX}`;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-background-networking"] });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 1600 } });
  const errors = [];
  const foreignRequests = [];
  const refused = Object.keys(REFUSED).length;
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("requestfailed", (request) => {
    // The page stops reading the stream of events.
    const stopped = request.url().includes(":watch") && request.failure()?.errorText === "net::ERR_ABORTED";
    if (!stopped) errors.push(`${request.url()}: ${request.failure()?.errorText}`);
  });
  page.on("request", (request) => {
    const { protocol } = new URL(request.url());
    const known = request.url().startsWith(`${base}/`) || request.url() === `${base}`;
    if (!known && protocol !== "data:" && protocol !== "blob:") foreignRequests.push(request.url());
  });

  await page.goto(`${base}/swagger-ui`);
  await page.waitForSelector("#operations-orders-acceptOrder");
  const document = await (await fetch(`${base}/openapi.json`)).json();
  const operations = Object.values(document.paths).flatMap((path) => Object.values(path));
  assert.ok(operations.length >= 17);
  assert.equal(await page.locator(".opblock").count(), operations.length);
  const license = await page.locator(".info__license a").getAttribute("href");
  assert.match(await (await fetch(license)).text(), /^MIT License[^]*Apache License/);

  const answers = {};
  for (const block of await page.locator(".opblock").all()) {
    const id = (await block.getAttribute("id")).split("-").pop();
    await block.locator("button.opblock-summary-control").click();
    // With tryItOutEnabled, the form is open and the only button is "Cancel".
    await block.locator("button.execute").click();
    const response = block.locator(".live-responses-table tbody .response");
    await response.waitFor();
    answers[id] = await response.innerText();
    assert.match(answers[id], new RegExp(`^${REFUSED[id] ?? 200}\\b`), id);
    if (id === "acceptOrder") await page.screenshot({ path: screenshot, fullPage: true });
    await block.locator("button.opblock-summary-control").click();
  }
  assert.match(answers.acceptOrder, /ORDER_STATE_STORED[^]*"totalPriceMinor": "22090"/);
  assert.match(answers.listReturns, /ORDER_STATE_RETURNED/);
  assert.equal(answers.importOrders.match(/"alreadyExisted": ?false/g)?.length, 2, answers.importOrders);
  // The page shows the events although their stream does not end.
  assert.match(answers.watchEvents, /EVENT_TYPE_ORDER_ACCEPTED[^]*EVENT_TYPE_ORDER_HANDED_TO_COURIER/);

  assert.equal(errors.filter((error) => error.includes("404")).length, refused, String(errors));
  assert.equal(errors.length, refused, `errors in the browser console: ${errors}`);
  assert.deepEqual(foreignRequests, [], "requests to other addresses");
} finally {
  await browser.close();
  proxy.close();
  proxy.closeAllConnections();
}
console.log("Swagger UI works");
