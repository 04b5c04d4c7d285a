// Server-sent events (WHATWG HTML, section 9.2), as far as OpenAI's API uses them: only the data of each event.

/** The service sends a comment every ten seconds, so a longer silence means that the connection is lost. */
const LONGEST_SILENCE_MS = 30_000;

/**
 * @template T
 * @param {Promise<T>} promise
 * @returns {Promise<T>}
 */
function beforeSilence(promise) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("The connection is silent.")), LONGEST_SILENCE_MS);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/**
 * The data of each event of a response, as it arrives.
 *
 * @param {ReadableStream<BufferSource>} body
 * @returns {AsyncGenerator<string, void>}
 * @throws {Error} the connection is lost.
 */
export async function* eventData(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await beforeSilence(reader.read());
      if (done) return;
      const events = (rest + value).split(/\r?\n\r?\n/);
      rest = events.pop() ?? "";
      for (const event of events) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (data.length) yield data.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      }
    }
  } finally {
    // Closes the connection if the caller wants no more; the service then ends the generation.
    reader.cancel().catch(() => {});
  }
}
