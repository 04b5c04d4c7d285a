"""The values of `format` that a text can be held to."""

_LEAP_YEAR = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    r"(([0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})-"
    r"((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    rf"|{_LEAP_YEAR}-02-29)"
)
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"

PATTERNS_OF_FORMATS = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}T{_TIME}$"}
"""Stricter than llguidance's own: no day that does not exist, no year 0, no leap second."""

ENFORCED_FORMATS = frozenset({"duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
"""Those that llguidance's own patterns enforce."""

CHECKED_FORMATS = frozenset({"idn-email", "regex"})
"""Those that `jsonschema` checks when a text ends."""

JUDGED_FORMATS = frozenset({*PATTERNS_OF_FORMATS, *CHECKED_FORMATS, "ipv4", "ipv6", "uuid"})
"""Those that the check of a finished text knows; of the others, the grammar alone has taken care."""
