"""How many examples a property is tried with."""

from tests.conftest import IN_CI

_LESS = 4


def examples(in_ci: int) -> int:
    """All of them in CI. Elsewhere a quarter, for properties that take seconds: each run draws others."""
    return in_ci if IN_CI else max(in_ci // _LESS, 5)
