"""transformers' `generate`, as a service without an engine calls it."""

import time
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, StoppingCriteriaList

from benchmarks.workload import NotHere, Timing, Workload


class StockGenerate:
    def __init__(self, folder: Path) -> None:
        self.versions = {"transformers": transformers.__version__, "torch": torch.__version__}
        self.path = f"on the CPU ({torch.backends.cpu.get_cpu_capability()}): PyTorch's operators"
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def run(self, workload: Workload) -> Timing:
        ends: list[float] = []

        def note_time(*_: object, **__: object) -> torch.Tensor:
            ends.append(time.perf_counter())
            return torch.zeros(workload.requests, dtype=torch.bool)

        prompts = torch.tensor(workload.prompts(self._model.config.vocab_size))
        choice: dict[str, Any] = {"do_sample": False}
        if workload.sampled:
            choice = {"do_sample": True, "temperature": 0.7, "top_k": 50}
        began = time.perf_counter()
        self._model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            min_new_tokens=workload.new_tokens,
            max_new_tokens=workload.new_tokens,
            pad_token_id=0,
            stopping_criteria=StoppingCriteriaList([note_time]),
            **choice,
        )
        return Timing.of_steps(workload, began=began, ends=ends)


def load(folder: Path, *, precision: str, threads: int) -> StockGenerate:
    if precision != "float32":
        raise NotHere("generate is measured in float32 only.")
    torch.set_num_threads(threads)
    return StockGenerate(folder)
