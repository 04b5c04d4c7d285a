"""One environment variable: how it is declared, and how its text becomes a value."""

from collections.abc import Callable
from dataclasses import Field, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from django.core.exceptions import ImproperlyConfigured

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})


class Topic(StrEnum):
    """The groups of the table in `docs/settings.md`, in its order."""

    MODEL = "Model"
    CAPACITY = "Capacity"
    UPSTREAM = "An engine behind it"
    SERVER = "Server"
    STORAGE = "Database and files"
    SECRETS = "Keys and accounts"
    LIMITS = "Limits of API keys"
    PROXY = "HTTPS and proxies"
    LOGS = "Logs and metrics"


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A variable as it is declared.

    Attributes:
        choices: the only values that a text may have; empty for any.
        at_least: the lower bound of a number, included; None for none.
        at_most: the upper bound, included.
        check_item: raises ValueError for an invalid item of a list.
        secret: the value must not appear in any repr, log or error page.
        engine_field: the field of `EngineConfig` that the variable sets, empty for none.
    """

    name: str
    default: object
    topic: Topic
    help: str
    choices: tuple[str, ...]
    at_least: float | None
    at_most: float | None
    check_item: Callable[[str], object]
    secret: bool
    engine_field: str

    @classmethod
    def of(cls, declared: Field[Any]) -> Self:
        """The variable that a dataclass field declares by `setting`; a Literal type gives the choices."""
        choices = get_args(declared.type) if get_origin(declared.type) is Literal else ()
        return cls(name=declared.name.upper(), default=declared.default, choices=choices, **declared.metadata)

    def parse(self, text: str) -> object:
        """The value that `text` stands for, which has the type of the default.

        Raises:
            ImproperlyConfigured: the text is not such a value; the message names the variable.
        """
        match self.default:
            case bool():
                if text.lower() not in TRUE | FALSE:
                    raise ImproperlyConfigured(f"{self.name} must be true or false, not {text!r}.")
                return text.lower() in TRUE
            case int() | float():
                return self._number(text, type(self.default))
            case tuple():
                return tuple(self._item(item) for item in map(str.strip, text.split(",")) if item)
            case Path():
                return Path(text).expanduser().resolve()
        if self.choices and text not in self.choices:
            raise ImproperlyConfigured(f"{self.name} must be {_either(self.choices)}, not {text!r}.")
        return text

    @property
    def bounds(self) -> str:
        """The range of a number, as it continues "a number"; empty where it has no bounds."""
        match self.at_least, self.at_most:
            case None, None:
                return ""
            case _, None:
                return f"of at least {self.at_least}"
            case None, _:
                return f"of at most {self.at_most}"
            case _:
                return f"from {self.at_least} to {self.at_most}"

    def _item(self, text: str) -> str:
        try:
            self.check_item(text)
        except ValueError as error:
            raise ImproperlyConfigured(f"{self.name} contains an invalid item: {error}.") from error
        return text

    def _number(self, text: str, kind: type[int] | type[float]) -> float:
        try:
            number: float = kind(text)
        except ValueError:
            number = float("nan")
        # Every comparison with NaN is false, so this also refuses what could not be parsed.
        if not (
            (self.at_least is None or number >= self.at_least)
            and (self.at_most is None or number <= self.at_most)
        ):
            what = f"{'a whole number' if kind is int else 'a number'} {self.bounds}".rstrip()
            raise ImproperlyConfigured(f"{self.name} must be {what}, not {text!r}.")
        return number


def setting(
    topic: Topic,
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    check_item: Callable[[str], object] = str,
    secret: bool = False,
    engine_field: str = "",
) -> Any:
    """Declare one variable as a dataclass field; the arguments are the attributes of `Variable`."""
    return field(
        default=default,
        repr=not secret,
        metadata={
            "topic": topic,
            "help": help,
            "at_least": at_least,
            "at_most": at_most,
            "check_item": check_item,
            "secret": secret,
            "engine_field": engine_field,
        },
    )


def _either(choices: tuple[str, ...]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)
