// The requests of OpenAI's API that the page sends and shows as code.

/** @typedef {"chat" | "completion"} Mode */
/** @typedef {{role: "system" | "user" | "assistant", content: string}} Message */
/** @typedef {Record<string, number | string[] | object>} Parameters The API's fields and their values. */
/** @typedef {{path: string, body: Record<string, unknown>}} ApiRequest */

/** The fields of a streamed answer; each event has the usage so far, so that it is known of a stopped answer as well. */
const STREAMED = { stream: true, stream_options: { include_usage: true, continuous_usage_stats: true } };

/**
 * @param {string} model
 * @param {Message[]} messages
 * @param {Parameters} parameters
 * @returns {ApiRequest}
 */
export function chatRequest(model, messages, parameters) {
  return { path: "/v1/chat/completions", body: { model, messages, ...parameters, ...STREAMED } };
}

/**
 * @param {string} model
 * @param {string} prompt
 * @param {Parameters} parameters
 * @returns {ApiRequest}
 */
export function completionRequest(model, prompt, parameters) {
  return { path: "/v1/completions", body: { model, prompt, ...parameters, ...STREAMED } };
}
