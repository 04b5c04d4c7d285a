"""Places in a JSON Schema, as messages name them: `$.properties.a.items[0]`."""

import re

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_LONGEST = 64


def under(path: str, *keys: str | int) -> str:
    """The path of what stands under these keys."""
    for key in keys:
        if isinstance(key, int):
            path += f"[{key}]"
        elif _NAME.fullmatch(key[:_LONGEST]):
            path += f".{key[:_LONGEST]}"
        else:
            path += f'["{key[:_LONGEST]}"]'
    return path


class SchemaRefused(Exception):
    """A JSON Schema, or another grammar, cannot be enforced."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")
