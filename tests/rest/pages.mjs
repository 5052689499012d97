// Tests the pages in a browser: they fit the width of a phone, follow the colour scheme,
// and cause no errors and no requests to other hosts.
//
//     node pages.mjs CHROMIUM BASE_URL SCREENSHOT PATH...

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [executablePath, base, screenshot, ...paths] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-background-networking"] });
try {
  const brightness = {};
  for (const colorScheme of ["light", "dark"]) {
    const page = await browser.newPage({ viewport: { width: 360, height: 740 }, isMobile: true, colorScheme });
    const errors = [];
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("requestfailed", (request) => errors.push(`${request.url()}: ${request.failure()?.errorText}`));
    page.on("request", (request) => {
      if (new URL(request.url()).origin !== base) errors.push(`a request to ${request.url()}`);
    });
    // The style is the same everywhere, so that a few pages show the dark scheme.
    for (const path of colorScheme === "light" ? paths : paths.slice(0, 5)) {
      await page.goto(`${base}${path}`);
      const { width, view, scheme } = await page.evaluate(() => ({
        width: document.documentElement.scrollWidth,
        view: window.innerWidth,
        scheme: getComputedStyle(document.body).backgroundColor,
      }));
      assert.ok(width <= 360 && view <= 360, `${path} is ${width} wide, in a view of ${view}`);
      brightness[colorScheme] = Number(scheme.match(/\d+/)[0]);
    }
    if (colorScheme === "light") {
      await page.goto(base);
      await page.screenshot({ path: screenshot, fullPage: true });
    }
    assert.deepEqual(errors, [], colorScheme);
    await page.close();
  }
  assert.ok(brightness.light > 200 && brightness.dark < 60, JSON.stringify(brightness));
} finally {
  await browser.close();
}
console.log(`${paths.length} pages fit a phone`);
