"""The engine's own throughput under the load of the HTTP benchmark, in this process, without any HTTP."""

import threading
import time

from benchmarks.http.load import length, prompt
from inference.engine.engine import Engine
from inference.engine.request import GenerationRequest, SamplingParams


def tokens_per_s(engine: Engine, *, clients: int, seconds: float, words: int, new_tokens: int) -> float:
    """Counted as the load generator does: each client sends its next request as soon as it has an answer."""
    until = time.perf_counter() + seconds
    lock = threading.Lock()
    tokens = 0

    def client(number: int) -> None:
        nonlocal tokens
        while time.perf_counter() < until:
            number += 1
            request = GenerationRequest(
                prompt=prompt(words, number),
                max_new_tokens=length(new_tokens, number),
                sampling=SamplingParams(seed=number),
            )
            completion = engine.submit(engine.prepare(request)).result()
            with lock:
                tokens += completion.completion_tokens

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tokens / (time.perf_counter() - began)
