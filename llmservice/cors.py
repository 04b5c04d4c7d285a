"""Which web pages of other origins may call the API from a browser (CORS), by `django-cors-headers`.

None may unless `CORS_ALLOWED_ORIGINS` names their origins: then they reach the addresses of the API, never
those of the admin, and without the cookies of whoever reads the page.
"""

from urllib.parse import urlsplit

PATHS = r"^/(v1/.*|keys/.*|generate|tokenize|detokenize|health|ready|schema)$"

# The official JavaScript client describes itself in these, and a browser asks for leave to send each.
OPENAI_CLIENT_HEADERS = tuple(
    f"x-stainless-{name}"
    for name in (
        *("arch", "helper-method", "lang", "os", "package-version", "poll-helper", "custom-poll-interval"),
        *("retry-count", "runtime", "runtime-version", "timeout"),
    )
)
REQUEST_HEADERS = (
    *("authorization", "x-api-key", "content-type", "accept", "user-agent", "x-request-id"),
    *("traceparent", "tracestate"),
    *("openai-beta", "openai-organization", "openai-project"),
    *OPENAI_CLIENT_HEADERS,
)
# What a client reads beside the body; a browser shows a page only those that are named.
ANSWER_HEADERS = ("X-Request-ID", "Retry-After", "X-Should-Retry", "RateLimit", "RateLimit-Policy")
METHODS = ("GET", "POST")
DEFAULT_PORTS = {"http": 80, "https": 443}


def check_origin(text: str) -> None:
    """Check that a browser can send this as an origin (RFC 6454): scheme, host, and a port if it is another.

    Raises:
        ValueError: it cannot; the message says how an origin looks.
    """
    parts = urlsplit(text)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        raise ValueError(f"{text!r} is not an origin such as https://app.example")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    if "*" in host:
        raise ValueError(f"{text!r} has a wildcard: name each origin")
    if text != (origin := f"{parts.scheme}://{host}{port}"):
        raise ValueError(f"{text!r} is not what a browser sends: write {origin}")
