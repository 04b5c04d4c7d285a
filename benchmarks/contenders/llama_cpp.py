"""llama.cpp, with the same weights written once as GGUF: float32, q8_0 for int8, and two kinds of 4 bits."""

import ctypes
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders.gguf_weights import write_float32
from benchmarks.surprises import surprises_of
from benchmarks.workload import NotHere, Timing, Workload, check_requests

_MAX_RUNNING = 64
_CONTEXT_TOKENS = 16384
_STEP_TOKENS = 16384
_FILE_TYPES = {
    "int8": "LLAMA_FTYPE_MOSTLY_Q8_0",
    "q4_0": "LLAMA_FTYPE_MOSTLY_Q4_0",
    "q4_K_M": "LLAMA_FTYPE_MOSTLY_Q4_K_M",
}


class LlamaCpp:
    """All sequences in one batch per step; keys and values in 16 bits, its default."""

    def __init__(self, weights: Path, vocabulary: int, threads: int) -> None:
        import llama_cpp

        self.versions = {"llama-cpp-python": llama_cpp.__version__}
        self._lib: Any = llama_cpp.llama_cpp
        self.path = self._lib.llama_print_system_info().decode().strip(" |")
        self._vocabulary = vocabulary
        self._model = self._lib.llama_model_load_from_file(
            str(weights).encode(), self._lib.llama_model_default_params()
        )
        if not self._model:
            raise NotHere(f"llama.cpp cannot read {weights}.")
        self._threads = threads
        self._context = self._new_context(sequences=_MAX_RUNNING)
        self._batch = self._lib.llama_batch_init(_STEP_TOKENS, 0, 1)

    def run(self, workload: Workload) -> Timing:
        check_requests(workload, _MAX_RUNNING, step_tokens=_STEP_TOKENS)
        lib = self._lib
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        sampler = self._sampler(sampled=workload.sampled)
        prompts = workload.prompts(self._vocabulary)
        ends = []
        began = time.perf_counter()
        rows = [
            (token, position, sequence, position == len(prompt) - 1)
            for sequence, prompt in enumerate(prompts)
            for position, token in enumerate(prompt)
        ]
        for step in range(workload.new_tokens):
            last_rows = self._decode(rows)
            position = workload.prompt_tokens + step
            rows = [
                (lib.llama_sampler_sample(sampler, self._context, row), position, sequence, True)
                for sequence, row in enumerate(last_rows)
            ]
            ends.append(time.perf_counter())
        lib.llama_sampler_free(sampler)
        return Timing.of_steps(workload, began=began, ends=ends)

    def surprises(self, texts: list[list[int]]) -> list[float]:
        import numpy

        lib = self._lib
        found: list[float] = []
        # A context shares its tokens out among its sequences.
        lib.llama_free(self._context)
        self._context = self._new_context(sequences=1)
        for text in texts:
            lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
            rows = self._decode([(token, position, 0, True) for position, token in enumerate(text)])
            logits = numpy.stack(
                [
                    numpy.ctypeslib.as_array(
                        lib.llama_get_logits_ith(self._context, row), (self._vocabulary,)
                    )
                    for row in rows
                ]
            )
            found += surprises_of(logits, text)
        return found

    def _new_context(self, *, sequences: int) -> Any:
        options = self._lib.llama_context_default_params()
        options.n_ctx = _CONTEXT_TOKENS
        options.n_batch = _STEP_TOKENS
        options.n_seq_max = sequences
        options.n_threads = options.n_threads_batch = self._threads
        return self._lib.llama_init_from_model(self._model, options)

    def _decode(self, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        """Compute rows of token, position, sequence and whether its logits are wanted; returns these rows."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        status = self._lib.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(f"llama_decode failed with status {status}.")
        return [i for i, row in enumerate(rows) if row[3]]

    def _sampler(self, *, sampled: bool) -> Any:
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        parts = [lib.llama_sampler_init_greedy()]
        if sampled:
            parts = [
                lib.llama_sampler_init_top_k(50),
                lib.llama_sampler_init_temp(0.7),
                lib.llama_sampler_init_dist(0),
            ]
        for part in parts:
            lib.llama_sampler_chain_add(chain, part)
        return chain


def load(folder: Path, *, precision: str, threads: int) -> LlamaCpp:
    try:
        import llama_cpp  # noqa: F401
    except ImportError as error:
        raise NotHere("llama.cpp is not installed: `make bench PEERS=llama_cpp` installs it.") from error
    config = json.loads((folder / "config.json").read_text())
    exact = _once(folder, "float32", lambda path: write_float32(folder, path))
    weights = exact
    if precision != "float32":
        weights = _once(folder, precision, lambda path: _quantize(exact, path, precision))
    return LlamaCpp(weights, config["vocab_size"], threads)


def _once(folder: Path, precision: str, write: Callable[[Path], None]) -> Path:
    """The file of this precision, written if there is none."""
    written = folder.with_name(f"{folder.name}-{precision}.gguf")
    if not written.exists():
        unfinished = written.with_suffix(".part")
        write(unfinished)
        unfinished.rename(written)
    return written


def _quantize(exact: Path, path: Path, precision: str) -> None:
    """By llama.cpp's own quantizer, which keeps some layers in more bits."""
    import llama_cpp

    lib: Any = llama_cpp.llama_cpp
    options = lib.llama_model_quantize_default_params()
    options.ftype = getattr(lib, _FILE_TYPES[precision])
    status = lib.llama_model_quantize(str(exact).encode(), str(path).encode(), ctypes.byref(options))
    if status:
        raise NotHere(f"llama_model_quantize failed with status {status}.")
