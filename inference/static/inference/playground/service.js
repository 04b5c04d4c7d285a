// The calls to the service. Every address is relative to this page's host.

import { eventData } from "./events.js";
import { ConnectionLost, ServiceError } from "./failures.js";

/** @typedef {{prompt_tokens: number, completion_tokens: number}} Usage */
/** @typedef {{text: string, finishReason: string | null, usage: Usage | null}} Piece */

/** Characters that a browser refuses to put into a header. */
const NOT_IN_A_KEY = /[^\x21-\x7e]/;

/**
 * @param {string} path
 * @param {string} key
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 * @throws {ServiceError | ConnectionLost} or the reason of an aborted signal.
 */
async function call(path, key, options = {}) {
  if (NOT_IN_A_KEY.test(key)) throw new ServiceError("Invalid API key: it contains characters that no key has.", { status: 401 });
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    // Without the admin's cookies: they are no concern of these endpoints.
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw new ConnectionLost("The service cannot be reached. Check your connection, and whether it runs.", { cause: error });
  }
  if (!response.ok) throw await ServiceError.of(response);
  return response;
}

/**
 * The length of the served model's context, for a key that is accepted.
 *
 * @param {string} key
 * @returns {Promise<number>}
 */
export async function contextLength(key) {
  const models = await (await call("/v1/models", key)).json();
  return models.data[0].context_length;
}

/**
 * Send the request; yields the answer piece by piece.
 *
 * @param {import("./request.js").ApiRequest} request
 * @param {string} key
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Piece, void>}
 * @throws {ServiceError | ConnectionLost} or the reason of the aborted signal.
 */
export async function* generate(request, key, signal) {
  const response = await call(request.path, key, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request.body),
    signal,
  });
  const requestId = response.headers.get("X-Request-ID");
  try {
    for await (const data of eventData(/** @type {ReadableStream} */ (response.body))) {
      if (data === "[DONE]") return;
      const { choices, usage, error } = JSON.parse(data);
      if (error) throw new ServiceError(error.message, { code: error.code, param: error.param, requestId });
      const choice = choices[0];
      yield {
        text: choice?.delta?.content ?? choice?.text ?? "",
        finishReason: choice?.finish_reason ?? null,
        usage: usage ?? null,
      };
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ServiceError) throw error;
    throw new ConnectionLost("The connection was lost before the answer was complete.", { cause: error });
  }
  throw new ConnectionLost("The connection was closed before the answer was complete.");
}
