/** A request as a line for a shell, with a variable in the place of the key. */

const PATHS = {
  "openai-chat": () => "/v1/chat/completions",
  "openai-responses": () => "/v1/responses",
  "openai-completions": () => "/v1/completions",
  "openai-embeddings": () => "/v1/embeddings",
  "anthropic-messages": () => "/v1/messages",
  gemini: (record) => `/v1beta/models/${encodeURIComponent(record.model ?? "MODEL")}:${record.stream ? "streamGenerateContent?alt=sse" : "generateContent"}`,
};

/**
 * @param {Object} record
 * @param {Object|string} body what was asked, as JSON or, where it was cut, as text
 * @param {string} origin where the gateway is
 */
export function curl(record, body, origin) {
  const path = (PATHS[record.dialect] ?? PATHS["openai-chat"])(record);
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const lines = [
    `curl ${quoted(origin + path)}`,
    `-H 'content-type: application/json'`,
    `-H "authorization: Bearer $YOUR_KEY"`,
    ...(record.dialect === "anthropic-messages" ? [`-H 'anthropic-version: 2023-06-01'`] : []),
    ...(record.stream ? ["--no-buffer"] : []),
    `--data-raw ${quoted(text)}`,
  ];
  return lines.join(" \\\n  ");
}

/** A text that no shell reads anything into. */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
