"""Texts that may be empty, in the OpenAPI document."""

from typing import Any

_EMPTY = {"type": "string", "maxLength": 0}


def describe_blank_once(result: Any, **_: Any) -> Any:
    """A postprocessing hook of drf-spectacular, which adds the empty text to patterns that match it already.

    As one of two forms that both match, the empty text would contradict the document.
    """
    match result:
        case list():
            return [describe_blank_once(item) for item in result]
        case {"oneOf": [form, empty], **others} if empty == _EMPTY:
            return {**others, **form}
        case dict():
            return {name: describe_blank_once(value) for name, value in result.items()}
        case _:
            return result
