"""The account of a request that has ended, which can wait in a file until the database takes it."""

import json
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Self

from accounts.models import UNKNOWN_ENDPOINT, Outcome


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What a request used, and the reservation that it had: by `reservation_id`, `key_id` and `deadline`.

    Attributes:
        day: the day (UTC) that its tokens count towards.
        endpoint: where it counts in the usage.
        first_token_ms, total_ms: from its admission to its first token and to its end; None if not measured.
    """

    reservation_id: int
    key_id: int
    day: date
    deadline: datetime
    outcome: Outcome
    endpoint: str = UNKNOWN_ENDPOINT
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_ms: int | None = None
    total_ms: int | None = None

    def to_json(self) -> str:
        """The settlement as one line, without the newline."""
        fields = asdict(self) | {"day": self.day.isoformat(), "deadline": self.deadline.isoformat()}
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The reverse of `to_json`. Raises ValueError if the line is not a whole settlement.

        A line that an earlier version wrote names no endpoint and no times.
        """
        try:
            fields = json.loads(line)
            return cls(
                reservation_id=int(fields["reservation_id"]),
                key_id=int(fields["key_id"]),
                day=date.fromisoformat(fields["day"]),
                deadline=datetime.fromisoformat(fields["deadline"]),
                outcome=Outcome(fields["outcome"]),
                endpoint=str(fields.get("endpoint", UNKNOWN_ENDPOINT)),
                prompt_tokens=int(fields["prompt_tokens"]),
                completion_tokens=int(fields["completion_tokens"]),
                first_token_ms=_whole(fields.get("first_token_ms")),
                total_ms=_whole(fields.get("total_ms")),
            )
        except (KeyError, TypeError) as error:
            raise ValueError("It is not a settlement.") from error


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))
