"""JSON bodies: read strictly, and always answered in JSON."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from llmservice.http.codes import BODY_TOO_COMPLEX, INVALID_JSON
from llmservice.http.excerpt import excerpt

# RFC 8259 lets a reader limit what it reads. Each list, object and name is an object for Python's garbage
# collector: a megabyte of them takes seconds. The longest chat fits, with a call in each message.
MAX_PARTS = 40_000
# A string that does not end counts as one, so that the search stays linear.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


class NotJSON(ParseError):
    """The body is not JSON as RFC 8259 defines it."""

    default_code = INVALID_JSON.name


class TooComplex(APIException):
    """The body is JSON, but of more parts, deeper or with a longer number than this service reads."""

    status_code = BODY_TOO_COMPLEX.status
    default_code = BODY_TOO_COMPLEX.name


class StrictJSONParser(JSONParser):
    """Reads JSON as RFC 8259 defines it: UTF-8 whatever the charset says, no NaN, no duplicate names.

    A byte order mark is skipped, as the RFC allows: some clients on Windows send one.
    """

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read()
        _check_parts(body)
        try:
            return json.loads(
                body.decode("utf-8-sig"),
                parse_constant=_refuse_constant,
                object_pairs_hook=_unique_names,
            )
        except UnicodeDecodeError:
            raise NotJSON("The body is not valid UTF-8, as JSON must be.") from None
        except RecursionError:
            raise TooComplex("The body is nested too deeply: send a flatter one.") from None
        except json.JSONDecodeError as error:
            raise NotJSON(
                f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
            ) from None
        except ValueError:
            # Python's limit on the digits of an integer; no other ValueError remains here.
            raise TooComplex("The body contains a number with too many digits: shorten it.") from None


def _check_parts(body: bytes) -> None:
    if _parts(body) > MAX_PARTS and _parts(STRING.sub(b"", body)) > MAX_PARTS:
        raise TooComplex(
            f"The body has more than {MAX_PARTS} lists, objects and names: send fewer messages, or a smaller "
            "schema."
        )


def _parts(body: bytes) -> int:
    return sum(map(body.count, (b"[", b"{", b":")))


def _refuse_constant(name: str) -> NoReturn:
    raise NotJSON(f"The body is not JSON: {name} is not a JSON number.")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise NotJSON(f'The body names "{excerpt(twice)}" more than once.')
    return names


class AlwaysAnswer(DefaultContentNegotiation):
    """Ignores the Accept header: each view has one representation, and a 406 would help no client."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        parser = super().select_parser(request, parsers)
        if parser is None:
            sent = (
                f"not as {excerpt(request.content_type)}"
                if request.content_type
                else "which names no Content-Type"
            )
            raise UnsupportedMediaType(
                request.content_type,
                f"Send the body with the header Content-Type: application/json, {sent}.",
            )
        return parser

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
