"""The contenders, which generate text with the same weights: one module each.

A module has `load(folder, *, precision, threads) -> Contender`, which raises `NotHere` if it cannot run on
this machine. It runs in its own process (`benchmarks.worker`), in the virtual environment of its packages.
"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpt2_medium import BENCH_DIR


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A contender in one precision.

    Attributes:
        module: in this package.
        precision: `float32`, `bfloat16`, `int8`, `int4` or the contender's own name of one. `auto` is what
            the contender takes if nobody asks for a precision; this engine takes the checkpoint's own type.
            `int8-kv8` is int8 with keys and values in 8 bits as well.
        environment: the virtual environment it runs in; None is the service's own.
    """

    module: str
    precision: str
    environment: Path | None = None

    @property
    def name(self) -> str:
        return f"{NAMES[self.module]} {self.precision}"

    @property
    def ours(self) -> bool:
        """Whether it is this project's engine."""
        return NAMES[self.module] == NAMES[OURS]


NAMES = {
    "stock": "transformers",
    "ct2": "CTranslate2",
    "openvino": "OpenVINO GenAI",
    "llama_cpp": "llama.cpp",
    "vllm": "vLLM",
    "service": "llmservice",
    "served": "llmservice",
}

OURS = "service"
OWN_TYPE = Entry(module=OURS, precision="auto")
DEFAULT = (
    Entry(module="stock", precision="float32"),
    Entry(module="ct2", precision="float32"),
    Entry(module="ct2", precision="int8"),
    OWN_TYPE,
    Entry(module="service", precision="float32"),
    Entry(module="service", precision="bfloat16"),
    Entry(module="service", precision="int8"),
    Entry(module="service", precision="int8-kv8"),
    Entry(module="service", precision="int4"),
)
SERVED = tuple(
    Entry(module="served", precision=precision)
    for precision in ("auto", "float32", "bfloat16", "int8", "int4")
)
OPTIONAL = {
    "openvino": ("auto", "float32", "int8", "int4"),
    "llama_cpp": ("float32", "int8", "q4_0", "q4_K_M"),
    "vllm": ("auto",),
}
"""Peers that `--peers` adds, and the precisions of each."""

PRECISIONS = tuple(
    dict.fromkeys(
        [entry.precision for entry in DEFAULT] + [one for peer in OPTIONAL.values() for one in peer]
    )
)


def entries(peers: list[str]) -> list[Entry]:
    """The contenders of a run; this project's engine comes last."""
    optional = [
        Entry(module=peer, precision=precision, environment=BENCH_DIR / f"venv-{peer}")
        for peer in peers
        for precision in OPTIONAL[peer]
    ]
    ours = [entry for entry in DEFAULT if entry.module == OURS]
    return [*(entry for entry in DEFAULT if entry.module != OURS), *optional, *ours]
