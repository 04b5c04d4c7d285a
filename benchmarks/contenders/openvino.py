"""OpenVINO GenAI's continuous batching, with the same weights exported once by optimum-intel."""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.surprises import surprises_of
from benchmarks.workload import NotHere, Timing, Workload, check_requests

_MAX_RUNNING = 64
_STEP_TOKENS = 16384
"""So that the prompts of all requests are computed in the first step: `Timing.of_steps` counts on it."""
_CACHE_GB = 2
_GROUP = 128
"""Inputs that share a scale in 4 bits, its default."""
_WEIGHT_BITS = {"int8": 8, "int4": 4}


class OpenVINO:
    """Stores keys and values in 8 bits, its default on CPUs.

    Args:
        options: of the CPU plugin.
    """

    def __init__(self, exported: Path, vocabulary: int, options: dict[str, Any]) -> None:
        import openvino
        import openvino_genai

        self.versions = {"openvino-genai": openvino_genai.__version__}
        self._core = openvino.Core()
        self._core.set_property("CPU", options)
        computed_in = self._core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
        self.path = f"OpenVINO's CPU plugin, computing in {computed_in}"
        self._exported = exported
        self._vocabulary = vocabulary
        scheduling = openvino_genai.SchedulerConfig()
        scheduling.max_num_seqs = _MAX_RUNNING
        scheduling.max_num_batched_tokens = _STEP_TOKENS
        scheduling.cache_size = _CACHE_GB
        scheduling.dynamic_split_fuse = False
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(str(exported), scheduling, "CPU", options)

    def run(self, workload: Workload) -> Timing:
        check_requests(workload, _MAX_RUNNING, step_tokens=_STEP_TOKENS)
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

    def surprises(self, texts: list[list[int]]) -> list[float]:
        import numpy

        request = self._core.compile_model(
            self._exported / "openvino_model.xml", "CPU"
        ).create_infer_request()
        found: list[float] = []
        for text in texts:
            every_position = numpy.arange(len(text), dtype=numpy.int64)[None]
            inputs = {
                "input_ids": numpy.array([text], dtype=numpy.int64),
                "attention_mask": numpy.ones_like(every_position),
                "position_ids": every_position,
                "beam_idx": numpy.zeros(1, dtype=numpy.int32),
            }
            request.reset_state()
            known = {name for port in request.model_inputs for name in port.names}
            request.infer({name: value for name, value in inputs.items() if name in known})
            found += surprises_of(request.get_tensor("logits").data[0], text)
        return found


def load(folder: Path, *, precision: str, threads: int) -> OpenVINO:
    try:
        import openvino_genai  # noqa: F401
    except ImportError as error:
        raise NotHere("OpenVINO GenAI is not installed: `make bench PEERS=openvino` installs it.") from error
    from transformers import AutoConfig

    bits = _WEIGHT_BITS.get(precision)
    exported = folder.with_name(f"{folder.name}-openvino-{f'int{bits}' if bits else 'float32'}")
    if not exported.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            unfinished = Path(scratch) / "exported"
            _export(folder, unfinished, bits=bits)
            unfinished.rename(exported)
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    # Without the hint it computes in bfloat16 where the CPU can.
    if precision != "auto":
        options["INFERENCE_PRECISION_HINT"] = "f32"
    return OpenVINO(exported, AutoConfig.from_pretrained(folder).vocab_size, options)


def _export(folder: Path, exported: Path, *, bits: int | None) -> None:
    """Args: bits of a weight; None keeps the checkpoint's type."""
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
    from transformers import AutoConfig, AutoTokenizer

    quantization = OVWeightQuantizationConfig(bits=bits) if bits else None
    if bits == 4 and AutoConfig.from_pretrained(folder).hidden_size % _GROUP:
        quantization = OVWeightQuantizationConfig(bits=4, group_size=_GROUP // 2)
    model = OVModelForCausalLM.from_pretrained(
        folder,
        export=True,
        compile=False,
        use_cache=True,
        load_in_8bit=False,
        quantization_config=quantization,
    )
    model.save_pretrained(exported)
    tokenizer, detokenizer = convert_tokenizer(AutoTokenizer.from_pretrained(folder), with_detokenizer=True)
    openvino.save_model(tokenizer, exported / "openvino_tokenizer.xml")
    openvino.save_model(detokenizer, exported / "openvino_detokenizer.xml")
