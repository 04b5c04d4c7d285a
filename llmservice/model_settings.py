"""The settings of the model and of how much it does at once."""

# ruff: noqa: RUF009 (`setting` makes a dataclass field)

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from inference.engine.config import (
    Device,
    EngineConfig,
    KVCacheDtype,
    PrefixSharing,
    Speculation,
    WeightDtype,
)
from llmservice.variable import Topic, setting
from llmservice.variable_set import VariableSet

DEFAULT_MODEL = "openai-community/gpt2-medium"


@dataclass(frozen=True, kw_only=True)
class ModelSettings(VariableSet):
    """The values of these settings; the others are in `llmservice.environment`."""

    # --- Model
    llm_model: str = setting(
        Topic.MODEL, DEFAULT_MODEL, "Name of a model on the Hugging Face hub, or path of a model folder."
    )
    llm_device: Device = setting(
        Topic.MODEL,
        EngineConfig.device,
        "Device that runs the model. `auto` uses CUDA if PyTorch finds it and `LLM_DTYPE` is `auto` or "
        "`float32`, otherwise the CPU.",
        engine_field="device",
    )
    llm_dtype: WeightDtype = setting(
        Topic.MODEL,
        EngineConfig.dtype,
        "Data type of the weights in memory. `auto` keeps the checkpoint's own: bfloat16 and float16 take "
        "half the memory of `float32` and give the same texts. `bfloat16` also takes half and computes in "
        "bfloat16, on CPUs with AVX512-BF16 or AMX: about twice as fast as `float32`. `int8` takes a "
        "quarter and is faster still. `int4` takes about a sixth and loses more quality; it is faster than "
        "`int8` for one request and slower for 16.",
        engine_field="dtype",
    )
    llm_quantization: Literal["none", "int8"] = setting(
        Topic.MODEL,
        "none",
        "`int8` means `LLM_DTYPE=int8`. It counts only where `LLM_DTYPE` is unset: one that is set, `auto` "
        "too, decides.",
    )
    llm_packed_weights: bool = setting(
        Topic.MODEL,
        True,
        "Keeps the weights as the engine computes with them in `VAR_DIR/weights`, for a faster start, and "
        "lets all workers share their memory. It takes as much disk as the weights take memory, for at most "
        "two models or data types.",
    )
    llm_kv_cache_dtype: KVCacheDtype = setting(
        Topic.MODEL,
        EngineConfig.kv_cache_dtype,
        "Data type of the KV cache; `float16` takes half the memory of `float32`, and `int8`, which needs "
        "the native kernels, little more than a quarter, at some quality. `auto` uses `float16` with "
        "bfloat16, 8-bit or 4-bit weights, otherwise `float32`.",
        engine_field="kv_cache_dtype",
    )
    llm_speculation: Speculation = setting(
        Topic.MODEL,
        EngineConfig.speculation,
        "`auto` computes several tokens of a text in one step where what the text repeats tells what is "
        "likely to follow, while few requests run; `off` computes one. The texts are the same: on a machine "
        "where they might not be, `auto` does what `off` does.",
        engine_field="speculation",
    )

    # --- Capacity
    llm_threads: int = setting(
        Topic.CAPACITY,
        EngineConfig.threads,
        "CPU threads of the engine; 0 uses every CPU that the process may use.",
        at_least=0,
        at_most=1024,
        engine_field="threads",
    )
    llm_max_running: int = setting(
        Topic.CAPACITY,
        EngineConfig.max_running,
        "Requests that a worker processes at the same time.",
        at_least=1,
        at_most=1024,
        engine_field="max_running",
    )
    llm_max_queued: int = setting(
        Topic.CAPACITY,
        EngineConfig.max_queued,
        "Requests that may wait in a worker; further ones are answered with 503.",
        at_least=0,
        at_most=4096,
        engine_field="max_queued",
    )
    llm_kv_cache_tokens: int = setting(
        Topic.CAPACITY,
        EngineConfig.kv_cache_tokens,
        "Size of the KV cache in tokens (prompt and completion of all running requests together); 0 uses as "
        "much memory as is available.",
        at_least=0,
        engine_field="kv_cache_tokens",
    )
    llm_prefix_cache: PrefixSharing = setting(
        Topic.CAPACITY,
        EngineConfig.prefix_cache,
        "Whose earlier texts need not be computed again where a prompt begins with them: `per_key` "
        "those of the same key, `shared` everybody's, `off` nobody's. With `shared`, the time to the "
        "first token tells a key whether another has sent the same beginning.",
        engine_field="prefix_cache",
    )
    llm_request_timeout_s: float = setting(
        Topic.CAPACITY,
        120.0,
        "Time limit of a request in seconds; a request that has not finished by then is answered with 504.",
        at_least=0.1,
        at_most=86400,
    )
    llm_max_new_tokens: int = setting(
        Topic.CAPACITY,
        1024,
        "Most tokens that a request under `/v1` may generate; `/generate` always allows up to 200.",
        at_least=1,
        at_most=1_000_000,
    )
    llm_grammar_bytes: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_bytes,
        "Largest JSON Schema, regular expression or grammar that a text can be held to, in bytes.",
        at_least=1,
        engine_field="grammar_bytes",
    )
    llm_grammar_nesting: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_nesting,
        "Schemas that a JSON Schema may have within each other.",
        at_least=1,
        at_most=100,
        engine_field="grammar_nesting",
    )
    llm_grammar_compile_s: float = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_compile_s,
        "Seconds of CPU time that compiling a schema or grammar may take; one that takes longer is refused.",
        at_least=0.1,
        at_most=60,
        engine_field="grammar_compile_s",
    )
    llm_grammar_memory_mb: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_memory_mb,
        "Megabytes that compiling a schema or grammar may take; one that takes more is refused.",
        at_least=16,
        engine_field="grammar_memory_mb",
    )
    llm_grammar_states: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_states,
        "States that the lexer of a grammar may have, of 1 to 2 kB each; a request that exceeds them fails.",
        at_least=100,
        engine_field="grammar_states",
    )
    llm_grammar_cache: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_cache,
        "Compiled schemas and grammars that a worker keeps.",
        at_least=1,
        at_most=100_000,
        engine_field="grammar_cache",
    )
    web_concurrency: int = setting(
        Topic.CAPACITY,
        EngineConfig.processes,
        "Worker processes; with `LLM_PACKED_WEIGHTS` they share the memory of the weights.",
        at_least=1,
        at_most=64,
        engine_field="processes",
    )

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The values in `environ`, with `LLM_QUANTIZATION=int8` as the value of an `LLM_DTYPE` that is unset.

        Raises:
            ImproperlyConfigured: as the base does.
        """
        values = super().read(environ)
        # Compose and Kubernetes set LLM_QUANTIZATION as a default, which an operator's LLM_DTYPE replaces.
        if values.llm_quantization == "none" or environ.get("LLM_DTYPE", "").strip():
            return values
        return replace(values, llm_dtype=values.llm_quantization)
