"""The trace that a request belongs to, as callers tell it (W3C Trace Context)."""

import re
from dataclasses import dataclass

# Version 00 ends after the flags; a later version may go on after a dash.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")
_ZEROS = re.compile("0+")


@dataclass(frozen=True, kw_only=True)
class TraceContext:
    """A trace, and the span in it that what follows belongs to.

    Attributes:
        trace_id, span_id: in hexadecimal, 32 and 16 digits.
        flags: in hexadecimal, 2 digits; 01 says that the trace is recorded.
        state: of the tracing systems that the request has passed; empty for none.
    """

    trace_id: str
    span_id: str
    flags: str
    state: str = ""

    @classmethod
    def read(cls, traceparent: str, tracestate: str = "") -> "TraceContext | None":
        """The context in these headers; None if they have none that is valid."""
        found = _TRACEPARENT.fullmatch(traceparent.strip())
        if found is None or (found[1] == "00" and found[5]):
            return None
        if _ZEROS.fullmatch(found[2]) or _ZEROS.fullmatch(found[3]):
            return None
        state = tracestate if _TRACESTATE.fullmatch(tracestate) else ""
        return cls(trace_id=found[2], span_id=found[3], flags=found[4], state=state)

    def headers(self) -> dict[str, str]:
        """What a further service is told."""
        parent = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags}"}
        return parent | ({"tracestate": self.state} if self.state else {})
