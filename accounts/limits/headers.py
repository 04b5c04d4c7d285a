"""The HTTP headers that report its limits to a client: draft-ietf-httpapi-ratelimit-headers.

`RateLimit-Policy` lists each limit with its quota (`q`), its window in seconds (`w`) and its unit (`qu`,
requests by default). `RateLimit` lists what is left of each (`r`), and the seconds until all of it is
available again (`t`).
"""

from accounts.limits.gcra import microseconds, whole_seconds
from accounts.limits.policy import DAY_S, Limits, Standing, midnight_after

POLICY = "RateLimit-Policy"
LEFT = "RateLimit"


def rate_limit_headers(limits: Limits, standing: Standing) -> dict[str, str]:
    """The headers of a key with these limits, by name; empty for an unlimited key."""
    policies, left = [], []
    if (rate := limits.rate) is not None:
        policies.append(f'"requests";q={rate.burst};w={whole_seconds(rate.window_us)}')
        now_us = standing.now_us
        full_in_s = whole_seconds(rate.full_in_us(standing.tat_us, now_us=now_us))
        left.append(f'"requests";r={rate.left(standing.tat_us, now_us=now_us)};t={full_in_s}')
    if (tokens := limits.tokens_left(standing)) is not None:
        policies.append(f'"tokens";q={limits.tokens_per_day};w={DAY_S};qu="tokens"')
        midnight_us = microseconds(midnight_after(standing.now))
        left.append(f'"tokens";r={tokens};t={whole_seconds(midnight_us - standing.now_us)}')
    if (slots := limits.slots_left(standing)) is not None:
        policies.append(f'"concurrency";q={limits.max_concurrent};qu="concurrent-requests"')
        left.append(f'"concurrency";r={slots}')
    return {POLICY: ", ".join(policies), LEFT: ", ".join(left)} if policies else {}
