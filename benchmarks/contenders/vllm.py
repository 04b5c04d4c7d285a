"""vLLM for CPUs, with its scheduler in this process, so that its steps can be timed."""

import os
import time
from pathlib import Path
from typing import Any

from benchmarks.workload import NotHere, Timing, Workload, check_requests

_MAX_RUNNING = 64
_STEP_TOKENS = 16384
_CACHE_GB = 4


class VLLM:
    """Computes in the type that it takes for the checkpoint on a CPU, its default."""

    def __init__(self, folder: Path, threads: int) -> None:
        os.environ |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_KVCACHE_SPACE": str(_CACHE_GB),
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads])),
            "VLLM_LOGGING_LEVEL": "WARNING",
        }
        import vllm

        self.versions = {"vllm": vllm.__version__}
        self._vllm: Any = vllm
        # Without prefix caching: the rounds have the same prompts.
        loaded = vllm.LLM(
            str(folder),
            max_num_seqs=_MAX_RUNNING,
            max_num_batched_tokens=_STEP_TOKENS,
            max_model_len=1024,
            enable_prefix_caching=False,
            disable_log_stats=True,
        )
        self._engine: Any = loaded.llm_engine
        config = loaded.llm_engine.model_config
        self.path = f"vLLM's CPU backend, computing in {str(config.dtype).removeprefix('torch.')}"
        self._vocabulary = config.get_vocab_size()
        self._asked = 0

    def run(self, workload: Workload) -> Timing:
        check_requests(workload, _MAX_RUNNING, step_tokens=_STEP_TOKENS)
        options = self._vllm.SamplingParams(
            max_tokens=workload.new_tokens,
            ignore_eos=True,
            temperature=0.7 if workload.sampled else 0.0,
            top_k=50 if workload.sampled else 0,
            detokenize=False,
        )
        prompts = workload.prompts(self._vocabulary)
        began = time.perf_counter()
        for prompt in prompts:
            self._asked += 1
            self._engine.add_request(str(self._asked), {"prompt_token_ids": prompt}, options)
        ends = []
        while self._engine.has_unfinished_requests():
            self._engine.step()
            ends.append(time.perf_counter())
        return Timing.of_steps(workload, began=began, ends=ends[: workload.new_tokens])


def load(folder: Path, *, precision: str, threads: int) -> VLLM:
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        raise NotHere("vLLM is not installed: `make bench PEERS=vllm` installs it.") from error
    if precision != "auto":
        raise NotHere(f"it is not measured in {precision}.")
    return VLLM(folder, threads)
