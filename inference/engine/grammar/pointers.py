"""References within a JSON document."""

from typing import Any
from urllib.parse import unquote


def pointer(reference: str) -> list[str]:
    """The keys of a JSON pointer in a fragment, `#/a/b`."""
    parts = unquote(reference[2:]).split("/")
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def resolve(root: Any, reference: str) -> Any:
    """What a reference within the document points to; None if there is nothing."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return None
    place = root
    for key in pointer(reference):
        if isinstance(place, list) and key.isdecimal() and int(key) < len(place):
            place = place[int(key)]
        elif isinstance(place, dict) and key in place:
            place = place[key]
        else:
            return None
    return place
