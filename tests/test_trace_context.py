"""Which headers of callers name a trace, and what is told to further services."""

import pytest

from llmservice.http.trace_context import TraceContext

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_a_trace_is_passed_on_as_it_came() -> None:
    context = TraceContext.read(VALID, "vendor=1")

    assert context is not None
    assert (context.trace_id, context.span_id, context.flags) == (TRACE, SPAN, "01")
    assert context.headers() == {"traceparent": VALID, "tracestate": "vendor=1"}


def test_a_later_version_may_have_more_fields() -> None:
    context = TraceContext.read(f"cc-{TRACE}-{SPAN}-01-more")
    assert context is not None
    assert context.headers() == {"traceparent": VALID}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        VALID.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"{VALID},{VALID}",
    ],
)
def test_what_is_not_valid_is_no_trace(header: str) -> None:
    assert TraceContext.read(header) is None


def test_a_state_that_no_header_can_carry_is_left_out() -> None:
    context = TraceContext.read(VALID, "a=1\r\nX-Forged: 1")
    assert context is not None
    assert context.headers() == {"traceparent": VALID}
