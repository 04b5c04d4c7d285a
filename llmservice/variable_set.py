"""Environment variables that are declared together, as the fields of one dataclass."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from django.core.exceptions import ImproperlyConfigured

from llmservice.variable import Variable

# A variable that begins so and does not exist is a mistake.
OWN_PREFIX = "LLM_"


@dataclass(frozen=True, kw_only=True)
class VariableSet:
    """The base of a dataclass whose fields `setting` makes. A field's variable is its name in upper case.

    An empty variable counts as unset, so `API_KEY=${API_KEY:-}` means the default.
    """

    @classmethod
    def variables(cls) -> dict[str, Variable]:
        """The declarations by the variable's name, in the order of declaration."""
        return {variable.name: variable for variable in map(Variable.of, fields(cls))}

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The values in `environ`.

        Raises:
            ImproperlyConfigured: a value has the wrong type or is out of bounds, or a variable `LLM_…` does
                not exist; the message is one sentence that names the variable.
        """
        variables = cls.variables()
        for name in sorted(environ):
            if name.startswith(OWN_PREFIX) and name not in variables:
                close = difflib.get_close_matches(name, variables, n=1)
                known = ", ".join(sorted(name for name in variables if name.startswith(OWN_PREFIX)))
                hint = f"did you mean {close[0]}?" if close else f"remove it, or use one of {known}."
                raise ImproperlyConfigured(f"{name} is not a setting of this service: {hint}")
        given = {name: text for name in variables if (text := environ.get(name, "").strip())}
        values: dict[str, Any] = {name.lower(): variables[name].parse(text) for name, text in given.items()}
        return cls(**values)

    def by_variable(self) -> dict[str, Any]:
        """Every value by its variable's name."""
        return {name: getattr(self, name.lower()) for name in self.variables()}
