// Tests Swagger UI in a browser: the page loads without errors and without requests
// to other hosts, and "Try it out" accepts an order.
//
//     node browser.mjs CHROMIUM BASE_URL SCREENSHOT

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [executablePath, base, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-background-networking"] });
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 1600 } });
  const errors = [];
  const foreignRequests = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("requestfailed", (request) => errors.push(`${request.url()}: ${request.failure()?.errorText}`));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== base && protocol !== "data:" && protocol !== "blob:") foreignRequests.push(request.url());
  });

  await page.goto(`${base}/swagger-ui`);
  await page.waitForSelector("#operations-orders-acceptOrder");
  const { paths } = await (await fetch(`${base}/openapi.json`)).json();
  const operations = Object.values(paths).flatMap((path) => Object.values(path)).filter((entry) => entry.operationId);
  assert.ok(operations.length >= 17);
  assert.equal(await page.locator(".opblock").count(), operations.length);

  const operation = page.locator("#operations-orders-acceptOrder");
  await operation.locator("button.opblock-summary-control").click();
  // With tryItOutEnabled, the form is open and the only button is "Cancel".
  const tryItOut = operation.locator("button.try-out__btn:not(.cancel)");
  if (await tryItOut.count()) await tryItOut.click();
  const storageUntil = new Date(Date.now() + 30 * 24 * 3600 * 1000).toISOString();
  const body = { orderId: "browser-1", customerId: "123", storageUntil, weightGrams: 1500, packaging: ["box", "film"] };
  await operation.locator("textarea.body-param__text").fill(JSON.stringify(body));
  for (const header of ["Idempotency-Key", "x-request-id"]) {
    await operation.locator(`tr[data-param-name="${header}"] input`).fill(`browser-${header}`);
  }
  await operation.locator("button.execute").click();
  const response = operation.locator(".live-responses-table .response");
  await response.waitFor();
  const text = await response.innerText();
  assert.match(text, /^200/m);
  assert.match(text, /ORDER_STATE_STORED/);
  assert.match(text, /"totalPriceMinor": "2100"/);
  await page.screenshot({ path: screenshot, fullPage: true });

  const stored = await (await fetch(`${base}/v1/orders/browser-1`)).json();
  assert.equal(stored.customerId, "123");
  assert.deepEqual(errors, [], "errors in the browser console");
  assert.deepEqual(foreignRequests, [], "requests to other hosts");
} finally {
  await browser.close();
}
console.log("Swagger UI works");
