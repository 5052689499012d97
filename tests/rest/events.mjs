// AsyncAPI's own parser on the document of events.
//
//     node events.mjs DOCUMENT

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const { Parser } = createRequire(import.meta.url)("@asyncapi/parser");

const parser = new Parser();
const text = await readFile(process.argv[2], "utf8");
const { document, diagnostics } = await parser.parse(text);
// 0 is an error, 1 a warning; the rest is advice.
const wrong = diagnostics.filter(({ severity }) => severity <= 1);
for (const { code, path, message } of wrong) {
  console.error(`${code} at ${path.join(".")}: ${message}`);
}
if (wrong.length > 0 || !document) process.exit(1);
const messages = document.channels().get("events").messages().all();
for (const message of messages) {
  const headers = message.headers()?.properties() ?? {};
  if (!("ce_type" in headers) || !("ce_sequence" in headers) || !message.hasPayload()) {
    console.error(`${message.name()} lacks headers or a payload`);
    process.exit(1);
  }
}
if (messages.length !== 4) {
  console.error(`${messages.length} messages`);
  process.exit(1);
}
// And the parser does find what is wrong.
const spoilt = JSON.parse(text);
delete spoilt.info.title;
spoilt.operations.publishEvents.action = "shout";
const faults = (await parser.parse(JSON.stringify(spoilt))).diagnostics;
if (faults.filter(({ severity }) => severity === 0).length < 2) {
  console.error("a spoilt document was taken for a valid one");
  process.exit(1);
}
console.log(`AsyncAPI ${document.version()}: ${messages.map((message) => message.name()).join(", ")}`);
