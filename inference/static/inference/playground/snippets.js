// A request as code that can be run: the same body that the page sends, with a placeholder in place of the key.

/** @typedef {import("./request.js").ApiRequest} ApiRequest */

export const PLACEHOLDER = "YOUR_API_KEY";

/** Fields that OpenAI's own client does not know; it sends them as `extra_body`. */
const BEYOND_OPENAI = new Set(["top_k", "repetition_penalty"]);
/** Its completions know fewer than its chats. */
const BEYOND_COMPLETIONS = new Set([...BEYOND_OPENAI, "response_format"]);

/** @type {Record<string, (request: ApiRequest, origin: string) => string>} */
export const SNIPPETS = { curl, python, javascript };

/** In single quotes a shell changes nothing, and a quote itself is written between two of them. @param {string} text */
const quotedForShell = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** @param {ApiRequest} request @param {string} origin */
function curl({ path, body }, origin) {
  return [
    `curl -N ${quotedForShell(origin + path)}`,
    `  -H 'Authorization: Bearer ${PLACEHOLDER}'`,
    "  -H 'Content-Type: application/json'",
    `  -d ${quotedForShell(JSON.stringify(body, null, 2))}`,
  ].join(" \\\n") + "\n";
}

/**
 * A Python literal. JSON's escapes mean the same in Python.
 *
 * @param {unknown} value
 * @param {string} indent
 * @returns {string}
 */
function pythonLiteral(value, indent) {
  const deeper = `${indent}    `;
  const around = (/** @type {string} */ open, /** @type {string[]} */ items, /** @type {string} */ close) =>
    items.length ? `${open}\n${items.map((item) => `${deeper}${item},\n`).join("")}${indent}${close}` : open + close;
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return around("[", value.map((item) => pythonLiteral(item, deeper)), "]");
  if (typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(/** @type {object} */ (value));
  return around("{", entries.map(([name, item]) => `${JSON.stringify(name)}: ${pythonLiteral(item, deeper)}`), "}");
}

/** @param {ApiRequest} request @param {string} origin */
function python({ path, body }, origin) {
  const chat = path.endsWith("/chat/completions");
  const fields = Object.entries(body);
  const unknown = chat ? BEYOND_OPENAI : BEYOND_COMPLETIONS;
  const known = fields.filter(([name]) => !unknown.has(name));
  const beyond = fields.filter(([name]) => unknown.has(name));
  if (beyond.length) known.push(["extra_body", Object.fromEntries(beyond)]);
  return `from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(`${origin}/v1`)}, api_key="${PLACEHOLDER}")
stream = client.${chat ? "chat.completions" : "completions"}.create(
${known.map(([name, value]) => `    ${name}=${pythonLiteral(value, "    ")},\n`).join("")})
for chunk in stream:
    for choice in chunk.choices:
        print(choice.${chat ? 'delta.content or ""' : "text"}, end="", flush=True)
print()
`;
}

/** @param {ApiRequest} request @param {string} origin */
function javascript({ path, body }, origin) {
  const chat = path.endsWith("/chat/completions");
  return `const response = await fetch(${JSON.stringify(origin + path)}, {
  method: "POST",
  headers: {
    "Authorization": "Bearer ${PLACEHOLDER}",
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${JSON.stringify(body, null, 2).replaceAll("\n", "\n  ")}),
});
if (!response.ok) throw new Error(await response.text());

let text = "";
let rest = "";
for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + part).split("\\n");
  rest = lines.pop();
  for (const line of lines) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    const { choices, error } = JSON.parse(line.slice("data: ".length));
    if (error) throw new Error(error.message);
    text += choices[0]?.${chat ? 'delta.content ?? ""' : 'text ?? ""'};
  }
}
console.log(text);
`;
}
