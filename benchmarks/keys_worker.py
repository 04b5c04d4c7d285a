"""A process of `benchmarks.keys` that authenticates, admits and settles requests one after the other.

`python -m benchmarks.keys_worker <requests>`: reads the secret from a line of stdin, waits for another line,
then writes the milliseconds of each part of each request as JSON.
"""

import json
import sys
import time

import django

django.setup()

from rest_framework.request import Request  # noqa: E402
from rest_framework.test import APIRequestFactory  # noqa: E402

from accounts.authentication import HEADER, APIKeyAuthentication  # noqa: E402
from accounts.limits import headers  # noqa: E402
from accounts.limits.admission import admit, settle, standing_of  # noqa: E402
from accounts.limits.policy import Limits  # noqa: E402
from accounts.models import Outcome  # noqa: E402

WARM_UP = 20


def measure(secret: str) -> dict[str, float]:
    """The milliseconds of each part of one request that generates nothing."""
    request = Request(APIRequestFactory().post("/generate", headers={HEADER: secret}))
    times = [time.perf_counter()]
    key, _ = APIKeyAuthentication().authenticate(request)
    times.append(time.perf_counter())
    admission = admit(key=key, tokens=100, timeout_s=60)
    times.append(time.perf_counter())
    settle([admission.settlement(Outcome.FINISHED, prompt_tokens=20, completion_tokens=30)])
    times.append(time.perf_counter())
    headers.rate_limit_headers(Limits.of(key), standing_of(key))
    times.append(time.perf_counter())
    parts = ("authenticate", "admit", "settle", "tell limits")
    measured = {part: 1000 * (times[i + 1] - times[i]) for i, part in enumerate(parts)}
    return {**measured, "together": 1000 * (times[-1] - times[0])}


def main() -> None:
    secret = sys.stdin.readline().strip()
    for _ in range(WARM_UP):
        measure(secret)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps([measure(secret) for _ in range(int(sys.argv[1]))]), flush=True)


main()
