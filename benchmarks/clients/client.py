"""How a client is declared, and what its checks are given."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path


class Failed(Exception):
    """The client does not work; the message says what was seen."""


class Absent(Exception):
    """The check needs something that is not installed here; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """The service that the clients speak to.

    Attributes:
        url: its root, without a slash at the end.
        key: a secret that may generate.
        model: what `/v1/models` calls the model.
        folder: the files of that model.
        scratch: a folder for what the clients write.
    """

    url: str
    key: str
    model: str
    folder: Path
    scratch: Path

    @property
    def api(self) -> str:
        """The base URL that OpenAI's clients want."""
        return f"{self.url}/v1"

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Served":
        fields = json.loads(text)
        return cls(**{**fields, "folder": Path(fields["folder"]), "scratch": Path(fields["scratch"])})


Check = Callable[[Served], str | None]


class Client:
    """A client and its checks.

    Args:
        name: as its users call it.
        version: of the program; by default that of the Python package.
        package: as pip knows it.
    """

    def __init__(self, name: str, *, version: str | None = None, package: str = "") -> None:
        self.name = name
        self.version = metadata.version(package) if version is None else version
        self.checks: dict[str, Check] = {}

    def check(self, function: Check) -> Check:
        """Declare a check: its docstring says what is tried. It may return a figure for the table.

        The check raises `Failed`, or whatever the client raises, if it does not work, and `Absent` if this
        machine lacks something that not everyone has.
        """
        self.checks[(function.__doc__ or function.__name__).strip()] = function
        return function


def ensure(holds: bool, seen: object) -> None:
    """Raise `Failed` with what was seen unless it is right."""
    if not holds:
        raise Failed(str(seen))
