"""OpenVINO GenAI's continuous batching, with the same weights exported once by optimum-intel."""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.workload import NotHere, Timing, Workload, check_requests

_MAX_RUNNING = 16
_CACHE_GB = 2


class OpenVINO:
    """Stores keys and values in 8 bits, its default on CPUs."""

    def __init__(self, exported: Path, vocabulary: int, threads: int) -> None:
        import openvino_genai

        self.versions = {"openvino-genai": openvino_genai.__version__}
        self.path = "OpenVINO's CPU plugin, computing in float32"
        self._vocabulary = vocabulary
        scheduling = openvino_genai.SchedulerConfig()
        scheduling.max_num_seqs = _MAX_RUNNING
        scheduling.max_num_batched_tokens = 4096
        scheduling.cache_size = _CACHE_GB
        scheduling.dynamic_split_fuse = False
        # Without the hint it may compute in bfloat16 where the CPU can.
        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(str(exported), scheduling, "CPU", options)

    def run(self, workload: Workload) -> Timing:
        check_requests(workload, _MAX_RUNNING)
        import numpy
        import openvino
        import openvino_genai

        options = openvino_genai.GenerationConfig()
        options.max_new_tokens = workload.new_tokens
        options.ignore_eos = True
        options.do_sample = workload.sampled
        if workload.sampled:
            options.temperature, options.top_k = 0.7, 50
        prompts = workload.prompts(self._vocabulary)
        began = time.perf_counter()
        handles: list[Any] = [
            self._pipeline.add_request(i, openvino.Tensor(numpy.array([prompt], dtype=numpy.int64)), options)
            for i, prompt in enumerate(prompts)
        ]
        ends = []
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
            ends.append(time.perf_counter())
        for handle in handles:
            handle.read_all()
        return Timing.of_steps(workload, began=began, ends=ends)


def load(folder: Path, *, precision: str, threads: int) -> OpenVINO:
    try:
        import openvino_genai  # noqa: F401
    except ImportError as error:
        raise NotHere("OpenVINO GenAI is not installed: `make bench PEERS=openvino` installs it.") from error
    from transformers import AutoConfig

    exported = folder.with_name(f"{folder.name}-openvino-{precision}")
    if not exported.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            unfinished = Path(scratch) / "exported"
            _export(folder, unfinished, int8=precision == "int8")
            unfinished.rename(exported)
    return OpenVINO(exported, AutoConfig.from_pretrained(folder).vocab_size, threads)


def _export(folder: Path, exported: Path, *, int8: bool) -> None:
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from optimum.intel import OVModelForCausalLM
    from transformers import AutoTokenizer

    model = OVModelForCausalLM.from_pretrained(
        folder, export=True, compile=False, use_cache=True, load_in_8bit=int8
    )
    model.save_pretrained(exported)
    tokenizer, detokenizer = convert_tokenizer(AutoTokenizer.from_pretrained(folder), with_detokenizer=True)
    openvino.save_model(tokenizer, exported / "openvino_tokenizer.xml")
    openvino.save_model(detokenizer, exported / "openvino_detokenizer.xml")
