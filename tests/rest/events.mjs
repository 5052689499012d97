// Validates the AsyncAPI document with AsyncAPI's own parser.
//
//     node events.mjs DOCUMENT

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const { Parser } = createRequire(import.meta.url)("@asyncapi/parser");

const parser = new Parser();
const text = await readFile(process.argv[2], "utf8");
const { document, diagnostics } = await parser.parse(text);
// Severity 0 is an error, 1 a warning; higher values are hints.
const problems = diagnostics.filter(({ severity }) => severity <= 1);
for (const { code, path, message } of problems) {
  console.error(`${code} at ${path.join(".")}: ${message}`);
}
if (problems.length > 0 || !document) process.exit(1);
const messages = document.channels().get("events").messages().all();
for (const message of messages) {
  const headers = message.headers()?.properties() ?? {};
  if (!("ce_type" in headers) || !("ce_sequence" in headers) || !message.hasPayload()) {
    console.error(`${message.name()} lacks headers or a payload`);
    process.exit(1);
  }
}
if (messages.length !== 4) {
  console.error(`the document has ${messages.length} messages instead of 4`);
  process.exit(1);
}
// The parser must find planted faults.
const broken = JSON.parse(text);
delete broken.info.title;
broken.operations.publishEvents.action = "shout";
const faults = (await parser.parse(JSON.stringify(broken))).diagnostics;
if (faults.filter(({ severity }) => severity === 0).length < 2) {
  console.error("the parser accepted a broken document");
  process.exit(1);
}
console.log(`AsyncAPI ${document.version()}: ${messages.map((message) => message.name()).join(", ")}`);
