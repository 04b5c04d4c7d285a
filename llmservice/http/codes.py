"""The codes of problems: a program decides by the code, so that the sentence in `detail` may change.

gunicorn's main process imports this module, so it must not import Django.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

# No standard has a status for a client that has left; the log and the metrics use nginx's.
CLIENT_CLOSED_REQUEST = 499


@dataclass(frozen=True)
class Code:
    """One kind of problem.

    Attributes:
        name: the member `code` of the problem document, and the `reason` in the log and the metrics.
        status: of the answer.
        meaning: a sentence for the documentation.
    """

    name: str
    status: int
    meaning: str

    @property
    def title(self) -> str:
        """The status in words."""
        closed = self.status == CLIENT_CLOSED_REQUEST
        return "Client Closed Request" if closed else HTTPStatus(self.status).phrase


_declared: dict[str, Code] = {}


def declare(codes: Iterable[Code]) -> None:
    """Add codes of an app. Raises ValueError if another code has the same name."""
    for code in codes:
        if _declared.setdefault(code.name, code) != code:
            raise ValueError(f"Two codes have the name {code.name}.")


def declared() -> list[Code]:
    """All codes, by status and name."""
    return sorted(_declared.values(), key=lambda code: (code.status, code.name))


def named(name: object) -> Code | None:
    """The declared code with this name."""
    return _declared.get(name) if isinstance(name, str) else None


def of_status(status: int) -> Code:
    """The general code of a status; others are the client's mistake or the service's failure."""
    if status in _GENERAL:
        return _GENERAL[status]
    fallback = INTERNAL_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else MALFORMED_REQUEST
    return Code(fallback.name, status, fallback.meaning)


MALFORMED_REQUEST = Code("malformed_request", 400, "The request is not valid HTTP.")
FORBIDDEN = Code("forbidden", 403, "This is not allowed.")
NOT_FOUND = Code("not_found", 404, "There is nothing at this address.")
METHOD_NOT_ALLOWED = Code("method_not_allowed", 405, "The address does not support the method.")
REQUEST_TIMEOUT = Code("request_timeout", 408, "The request did not arrive in time.")
BODY_TOO_LARGE = Code("body_too_large", 413, "The body is larger than `MAX_BODY_BYTES`.")
BODY_TOO_COMPLEX = Code(
    "body_too_complex",
    413,
    "The body is JSON with more parts, deeper or with a longer number than the service reads.",
)
URI_TOO_LONG = Code("uri_too_long", 414, "The address is too long.")
UNSUPPORTED_MEDIA_TYPE = Code("unsupported_media_type", 415, "The content type of the body is not JSON.")
EXPECTATION_FAILED = Code("expectation_failed", 417, "The only supported expectation is `100-continue`.")
INVALID_FIELDS = Code("invalid_fields", 422, "A field is missing, unknown or has an invalid value.")
TOO_MANY_REQUESTS = Code("too_many_requests", 429, "Too many requests.")
HEADERS_TOO_LARGE = Code("headers_too_large", 431, "The headers are too many or too large.")
CLIENT_CLOSED = Code("client_closed_request", CLIENT_CLOSED_REQUEST, "The client closed the connection.")
INTERNAL_ERROR = Code("internal_error", 500, "The service failed on this request; its log says why.")
NOT_IMPLEMENTED = Code("not_implemented", 501, "The server does not support a feature of HTTP.")
HTTP_VERSION = Code("http_version", 505, "The server speaks HTTP/1.1 and HTTP/1.0.")
_GENERAL = {
    code.status: code
    for code in (
        MALFORMED_REQUEST,
        FORBIDDEN,
        NOT_FOUND,
        METHOD_NOT_ALLOWED,
        REQUEST_TIMEOUT,
        BODY_TOO_LARGE,
        URI_TOO_LONG,
        UNSUPPORTED_MEDIA_TYPE,
        EXPECTATION_FAILED,
        INVALID_FIELDS,
        TOO_MANY_REQUESTS,
        HEADERS_TOO_LARGE,
        CLIENT_CLOSED,
        INTERNAL_ERROR,
        NOT_IMPLEMENTED,
        HTTP_VERSION,
    )
}

INVALID_JSON = Code("invalid_json", 400, "The body is not valid JSON.")
INCOMPLETE_BODY = Code("incomplete_body", 400, "The body ended before it was complete.")
UNKNOWN_HOST = Code("unknown_host", 400, "The `Host` header names a host that is not in `ALLOWED_HOSTS`.")
UNSUPPORTED_ENCODING = Code("unsupported_encoding", 415, "The body is compressed.")
DATABASE_UNAVAILABLE = Code("database_unavailable", 503, "The database cannot be used.")

declare(
    [
        *_GENERAL.values(),
        INVALID_JSON,
        BODY_TOO_COMPLEX,
        INCOMPLETE_BODY,
        UNKNOWN_HOST,
        UNSUPPORTED_ENCODING,
        DATABASE_UNAVAILABLE,
    ]
)
