"""CTranslate2, with the same weights converted once."""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.workload import NotHere, Timing, Workload


class CTranslate2:
    def __init__(self, folder: Path, converted: Path, *, precision: str, threads: int) -> None:
        import ctranslate2
        from transformers import AutoTokenizer

        self.versions = {"ctranslate2": ctranslate2.__version__}
        self.path = f"CTranslate2's CPU kernels, compute type {precision}"
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._generator = ctranslate2.Generator(str(converted), compute_type=precision, intra_threads=threads)

    def run(self, workload: Workload) -> Timing:
        ends = [0.0] * workload.new_tokens

        def note_time(result: Any) -> bool:
            ends[result.step] = time.perf_counter()
            return False

        prompts = workload.prompts(len(self._tokenizer))
        sampling = {"sampling_topk": 50, "sampling_temperature": 0.7} if workload.sampled else {}
        began = time.perf_counter()
        self._generator.generate_batch(
            [self._tokenizer.convert_ids_to_tokens(prompt) for prompt in prompts],
            min_length=workload.new_tokens,
            max_length=workload.new_tokens,
            include_prompt_in_result=False,
            callback=note_time,
            **sampling,
        )
        return Timing.of_steps(workload, began=began, ends=ends)


def load(folder: Path, *, precision: str, threads: int) -> CTranslate2:
    try:
        from ctranslate2.converters import TransformersConverter
    except ImportError as error:
        raise NotHere("CTranslate2 is not installed: install requirements/bench.txt.") from error
    converted = folder.with_name(f"{folder.name}-ct2-{precision}")
    if not converted.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            unfinished = Path(scratch) / "converted"
            quantization = None if precision == "float32" else precision
            TransformersConverter(str(folder)).convert(str(unfinished), quantization=quantization)
            unfinished.rename(converted)
    return CTranslate2(folder, converted, precision=precision, threads=threads)
