"""The engine's configuration."""

import os
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

WeightDtype = Literal["auto", "float32", "bfloat16", "int8", "int4"]
"""The keys of `compute.formats.FORMATS`, which needs torch; a test holds the two equal."""

Device = Literal["auto", "cpu", "cuda"]
KVCacheDtype = Literal["auto", "float32", "float16", "int8"]
Speculation = Literal["auto", "off"]
PrefixSharing = Literal["per_key", "shared", "off"]


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How the engine computes, and how much at once.

    Attributes:
        max_running: the most sequences in one forward pass.
        max_queued: requests that may wait; a further one is refused with `Overloaded`.
        kv_cache_tokens: tokens, prompt and generated, that all running sequences may have together; 0 takes
            as many as memory allows.
        processes: how many processes share this machine's memory.
        prefill_tokens: prompt tokens computed in one step while no sequence is generating.
        prefill_tokens_shared: the same while some are; it limits how long they wait for their next token.
            Where they are few, it includes their own tokens.
        threads: CPU threads of the forward pass; 0 takes all that this process may use.
        device: where the model is computed; "auto" takes CUDA if it is there and computes the weight format,
            otherwise the CPU.
        dtype: the weight format; "auto" keeps weights in the checkpoint's type and computes in float32,
            "float32" stores them in float32, "bfloat16" stores and multiplies them in bfloat16, "int8" in 8
            bits, "int4" stores them in 4 bits.
        kv_cache_dtype: how keys and values are stored; "auto" takes float16 with bfloat16, int8 and int4
            weights, otherwise float32.
        speculation: "auto" computes several tokens of a text in one step where what the text repeats tells
            what may follow; "off" computes one. The texts are the same.
        prefix_cache: whose earlier texts a prompt is looked up in: those of the same owner, everybody's, or
            nobody's.
        grammar_bytes: the largest JSON Schema, regular expression or grammar that a text can be held to.
        grammar_nesting: how many schemas one may have within each other.
        grammar_compile_s: seconds of CPU time that one may take to compile.
        grammar_memory_mb: memory that one may take to compile.
        grammar_states: states that one's lexer may have; each takes 1 to 2 kB while a text is generated.
        grammar_cache: how many compiled ones are kept.
    """

    max_running: int = 16
    max_queued: int = 64
    kv_cache_tokens: int = 0
    processes: int = 1
    prefill_tokens: int = 512
    prefill_tokens_shared: int = 16
    threads: int = 0
    device: Device = "auto"
    dtype: WeightDtype = "auto"
    kv_cache_dtype: KVCacheDtype = "auto"
    speculation: Speculation = "auto"
    prefix_cache: PrefixSharing = "per_key"
    grammar_bytes: int = 262_144
    grammar_nesting: int = 48
    grammar_compile_s: float = 2.0
    grammar_memory_mb: int = 256
    grammar_states: int = 32_000
    grammar_cache: int = 128


def usable_cpus() -> int:
    """How many CPUs this process may use: its affinity, or the quota of its control group if that is less."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cpus, ceil(_cgroup_cpu_quota() or cpus)))


def _cgroup_cpu_quota() -> float | None:
    """CPUs that the control group allows (v2, then v1); None if it sets no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        micros = int((folder / "cpu.cfs_quota_us").read_text())
        return None if micros <= 0 else micros / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
