"""llama.cpp, with the same weights written once as GGUF (float32, or q8_0 for int8)."""

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.workload import CannotRun, NotHere, Timing, Workload, check_requests

_MAX_RUNNING = 16
_CONTEXT_TOKENS = 16384
_STEP_TOKENS = 4096
# Names of a layer's parts in Hugging Face's GPT-2 and in GGUF.
_LAYER_PARTS = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
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
        options = self._lib.llama_context_default_params()
        options.n_ctx = _CONTEXT_TOKENS
        options.n_batch = _STEP_TOKENS
        options.n_seq_max = _MAX_RUNNING
        options.n_threads = options.n_threads_batch = threads
        self._context = self._lib.llama_init_from_model(self._model, options)
        self._batch = self._lib.llama_batch_init(_STEP_TOKENS, 0, 1)

    def run(self, workload: Workload) -> Timing:
        check_requests(workload, _MAX_RUNNING)
        if workload.requests * workload.prompt_tokens > _STEP_TOKENS:
            raise CannotRun(f"it computes at most {_STEP_TOKENS} prompt tokens in a step")
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
    written = folder.with_name(f"{folder.name}-{precision}.gguf")
    if not written.exists():
        unfinished = written.with_suffix(".part")
        write_gguf(folder, unfinished, config, int8=precision == "int8")
        unfinished.rename(written)
    return LlamaCpp(written, config["vocab_size"], threads)


def write_gguf(folder: Path, path: Path, config: dict[str, Any], *, int8: bool) -> None:
    """Write a GPT-2's weights without its vocabulary: only token ids go in and out."""
    import gguf
    from safetensors.numpy import load_file

    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    weights = load_file(folder / "model.safetensors")
    for name, target in _names(config["n_layer"]).items():
        tensor = weights[f"transformer.{name}"]
        matrix = tensor.ndim == 2 and not name.startswith(("wte", "wpe"))
        if matrix:
            tensor = tensor.T.copy()  # Conv1D stores the transpose
        if int8 and (matrix or name.startswith("wte")):
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(target, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _names(layers: int) -> dict[str, str]:
    names = {
        "wte.weight": "token_embd.weight",
        "wpe.weight": "position_embd.weight",
        "ln_f.weight": "output_norm.weight",
        "ln_f.bias": "output_norm.bias",
    }
    for layer in range(layers):
        for part, target in _LAYER_PARTS.items():
            for kind in ("weight", "bias"):
                names[f"h.{layer}.{part}.{kind}"] = f"blk.{layer}.{target}.{kind}"
    return names
