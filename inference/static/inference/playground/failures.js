// Why a request failed, in the service's own words where it gave any.

/** The service refused the request, or failed during the answer. */
export class ServiceError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string | null, param?: string | null, requestId?: string | null,
   *          retryAfterS?: number | null}} [more]
   */
  constructor(message, { status, code = null, param = null, requestId = null, retryAfterS = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
    this.requestId = requestId;
    this.retryAfterS = retryAfterS;
  }

  /**
   * The error that a response with an error status describes: OpenAI's error object or a problem document.
   *
   * @param {Response} response
   */
  static async of(response) {
    const body = await response.json().catch(() => ({}));
    const error = body.error ?? { message: body.detail, code: body.code };
    const retryAfter = Number(response.headers.get("Retry-After") ?? Number.NaN);
    return new ServiceError(error.message ?? `The service answered with status ${response.status}.`, {
      status: response.status,
      code: error.code,
      param: error.param,
      requestId: response.headers.get("X-Request-ID"),
      retryAfterS: Number.isFinite(retryAfter) ? retryAfter : null,
    });
  }
}

/** No answer arrived, or it ended before it was complete. */
export class ConnectionLost extends Error {}
