"""The headers of answers in the OpenAPI document: which answer has which, for every operation alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmservice.http import codes

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Header:
    """A header of answers.

    Attributes:
        required: whether every one of these answers has it.
        schema: of its value.
        accompanies: whether an answer has it, by the path, the status, and whether the operation needs a key.
    """

    description: str
    required: bool
    schema: Document
    accompanies: Callable[[str, int, bool], bool]


TEMPORARY = {codes.TOO_MANY_REQUESTS.status, codes.DATABASE_UNAVAILABLE.status}
# Refused before the key is known, which may have limits.
BEFORE_THE_KEY = {401, 403}

HEADERS = {
    "X-Request-ID": Header(
        description="The id of the request, which the log has as well: the client's own or a random one.",
        required=True,
        schema={"type": "string", "pattern": "^[A-Za-z0-9._~-]{1,128}$"},
        accompanies=lambda path, status, needs_key: True,
    ),
    "Retry-After": Header(
        description="Seconds after which the same request may be sent again.",
        required=True,
        schema={"type": "integer", "minimum": 0},
        # /health answers 503 once the engine is dead: to try again does not help.
        accompanies=lambda path, status, needs_key: status in TEMPORARY and path != "/health",
    ),
    "RateLimit-Policy": Header(
        description="The limits of the API key, if it has any: `q` is the quota, `w` the window in seconds, "
        '`qu` of what (requests where it is not said), as in `"requests";q=60;w=60`.',
        required=False,
        schema={"type": "string"},
        accompanies=lambda path, status, needs_key: needs_key and status not in BEFORE_THE_KEY,
    ),
    "RateLimit": Header(
        description="What is left of each limit (`r`), and the seconds until all of it is back (`t`), "
        'as in `"requests";r=12;t=48`.',
        required=False,
        schema={"type": "string"},
        accompanies=lambda path, status, needs_key: needs_key and status not in BEFORE_THE_KEY,
    ),
    "WWW-Authenticate": Header(
        description="How to send the key.",
        required=True,
        schema={"type": "string"},
        accompanies=lambda path, status, needs_key: status == 401,
    ),
}


def describe_headers(result: Document, **_: Any) -> Document:
    """A postprocessing hook of drf-spectacular: add the headers to each answer of each operation."""
    result["components"]["headers"] = {
        name: {"description": header.description, "required": header.required, "schema": header.schema}
        for name, header in HEADERS.items()
    }
    for path, operations in result["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                of_all = {
                    name: {"$ref": f"#/components/headers/{name}"}
                    for name, header in HEADERS.items()
                    if header.accompanies(path, int(status), bool(operation.get("security")))
                }
                answer["headers"] = {**of_all, **answer.get("headers", {})}
    return result
