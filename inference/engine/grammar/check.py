"""The last word on a finished JSON text. The engine's thread asks for it, so it has a limit of time."""

import json
import logging
from typing import Any

from inference.engine.errors import NoFittingText
from inference.engine.grammar.checked_schema import CheckedSchema
from inference.engine.grammar.evaluation import Evaluation, TooLong
from inference.engine.grammar.finite import is_finite

logger = logging.getLogger(__name__)

_LIMIT_S = 0.1
"""A step takes 5 to 50 ms."""


class SchemaCheck:
    """Whether texts are JSON that fits a schema.

    Where a name comes twice in an object, its last value counts, as for the clients that read the text.

    Raises:
        SchemaRefused: it could not tell.
    """

    def __init__(self, schema: Any) -> None:
        self._schema = CheckedSchema(schema)

    def fits(self, text: str) -> bool:
        """Whether the text is JSON that fits.

        Raises:
            NoFittingText: it takes too long to find out.
        """
        try:
            value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_refuse)
            return Evaluation(self._schema, limit_s=_LIMIT_S).fits(self._schema.root, value)
        except TooLong as error:
            raise NoFittingText("Checking the text against the schema takes too long.") from error
        except (ValueError, RecursionError):
            return False
        except Exception as error:
            logger.exception("Checking a text against its schema failed.")
            raise NoFittingText("The text cannot be checked against the schema.") from error


def _integer(digits: str) -> int:
    return int(digits) if is_finite(digits) else _refuse(digits)


def _number(text: str) -> float:
    return float(text) if is_finite(text) else _refuse(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text[:20]} is no number that a client can read")
