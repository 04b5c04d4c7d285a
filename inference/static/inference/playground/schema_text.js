// The JSON Schema that the user writes for the answers.

/** The name that OpenAI's API asks for; it has no effect. */
const NAME = "answer";

/**
 * What keeps a text from being sent as a schema, or null. Whether the schema can be enforced, the service says.
 *
 * @param {string} text
 */
export function schemaProblem(text) {
  try {
    const schema = JSON.parse(text);
    const isSchema = typeof schema === "boolean" || (typeof schema === "object" && schema !== null && !Array.isArray(schema));
    return isSchema ? null : "Must be a JSON Schema: an object in braces.";
  } catch (error) {
    return `Not valid JSON: ${/** @type {Error} */ (error).message}`;
  }
}

/** The value of the field `response_format`. @param {string} text A text without a problem. */
export function responseFormat(text) {
  return { type: "json_schema", json_schema: { name: NAME, schema: JSON.parse(text) } };
}
