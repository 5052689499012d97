// Seconds for which the page reads a stream.
const STREAM_SECONDS = 5;

// Swagger UI shows an answer when it has ended, and a stream of events does not end: the
// page shows what arrives in a few seconds.
async function readForAWhile(url, request) {
  const response = await fetch(url, request);
  if (!response.ok) return response;
  const reader = response.body.getReader();
  const timer = setTimeout(() => reader.cancel(), STREAM_SECONDS * 1000);
  const decoder = new TextDecoder();
  let text = "";
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    text += decoder.decode(chunk.value, { stream: true });
  }
  clearTimeout(timer);
  const { status, statusText, headers } = response;
  const nothing = `No event in ${STREAM_SECONDS} seconds. Set "after" to 0 to read those of the past.`;
  return new Response(text.trim() ? text : nothing, { status, statusText, headers });
}

function readStreams(request) {
  if (new URL(request.url, location).pathname.endsWith(":watch")) request.userFetch = readForAWhile;
  return request;
}

// Swagger UI writes an example in a media type that contains "json" as a JSON string. The
// example of NDJSON is its text.
function ndjsonAsText(original) {
  return (schema, mediaType, config, example) =>
    mediaType === "application/x-ndjson" && typeof example === "string"
      ? example
      : original(schema, mediaType, config, example);
}

const pvz = (system) => ({
  fn: { getSampleSchema: ndjsonAsText(system.getSystem().fn.getSampleSchema) },
  statePlugins: { spec: { wrapSelectors: { selectLicenseUrl: () => () => new URL("../license", location).href } } },
});

window.onload = () => {
  window.ui = SwaggerUIBundle({
    dom_id: "#swagger-ui",
    url: new URL("../openapi.json", location).href,
    deepLinking: true,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    requestInterceptor: readStreams,
    layout: "StandaloneLayout",
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
    plugins: [SwaggerUIBundle.plugins.DownloadUrl, pvz],
  });
};
