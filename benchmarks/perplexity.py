"""Quality in bfloat16, 8 and 4 bits: how much worse the model foresees real text than in float32.

`python -m benchmarks.perplexity`: the perplexity of a text, e to the mean of -ln p of its tokens, in float32,
in bfloat16, 8 and 4 bits, and in every precision of the `--peers`. The text is cut into windows; each stands
alone, and every token of it but the first is foreseen from those before it.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging as transformers_logging

from benchmarks.contender_process import ContenderProcess
from benchmarks.contenders import Entry, entries
from benchmarks.gpt2_medium import BENCH_DIR
from benchmarks.results import RESULTS_DIR, markdown, progress, save
from benchmarks.served_model import served_model
from benchmarks.surprises import surprises_of
from benchmarks.workload import NotHere
from inference.engine.blocks import blocks_of
from inference.engine.compute.compiled.tables import Floats
from inference.engine.compute.model_limits import context_length
from inference.engine.config import EngineConfig, KVCacheDtype, WeightDtype, usable_cpus
from inference.engine.errors import ModelUnavailable
from inference.engine.segment import Segment
from inference.quickstart import ensure_model

_VAR_DIR = Path(__file__).resolve().parent.parent / "var"
SCORERS = ("openvino", "llama_cpp")
"""Optional peers that can judge a text."""
_TOPICS = (
    *("compound", "specialnames", "types", "string-methods", "formatstrings", "typesseq"),
    *("debugger", "typesmapping"),
)
"""Long chapters of Python's reference, none of which repeats another."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """English, and what it is, in a few words."""

    name: str
    content: str

    @classmethod
    def of_file(cls, file: Path) -> "Text":
        return cls(name=file.name, content=file.read_text(encoding="utf-8"))


def python_reference() -> Text:
    """Chapters of the Python reference, which comes with every Python."""
    from pydoc_data.topics import topics
    from sys import version_info

    chapters = [topics[topic] for topic in _TOPICS if topic in topics]
    return Text(
        name=f"{len(chapters)} chapters of Python {version_info.major}.{version_info.minor}'s reference "
        "(pydoc_data.topics)",
        content="\n\n".join(chapters),
    )


@dataclass(frozen=True, kw_only=True)
class Narrow:
    """Weights narrower than float32.

    Attributes:
        name: as it is printed.
        cache: the KV cache's data type.
    """

    name: str
    dtype: WeightDtype
    cache: KVCacheDtype = "auto"


_NARROW = (
    Narrow(name="bfloat16", dtype="bfloat16"),
    Narrow(name="int8", dtype="int8"),
    Narrow(name="int8, KV cache in int8", dtype="int8", cache="int8"),
    Narrow(name="int4", dtype="int4"),
)


class EveryRow:
    """The service's own forward pass, but with the logits after every token instead of the last."""

    def __init__(
        self, folder: Path, *, window: int, threads: int, dtype: WeightDtype, cache: KVCacheDtype = "auto"
    ) -> None:
        config = EngineConfig(
            device="cpu", threads=threads, kv_cache_tokens=window, dtype=dtype, kv_cache_dtype=cache
        )
        self._model = served_model(folder, config)

    def logits(self, token_ids: list[int]) -> Floats:
        """After each of the tokens: `[tokens, vocabulary]`; valid until the next call."""
        blocks = self._model.blocks.take(blocks_of(len(token_ids)))
        assert blocks is not None  # noqa: S101
        logits = self._model.forward([Segment(token_ids, 0, blocks, logits=len(token_ids))])
        self._model.blocks.release(blocks)
        return np.asarray(logits)


def windows(token_ids: list[int], *, size: int, tokens: int) -> list[list[int]]:
    """Windows of `size` tokens from all over the text: `tokens` in all at the most, but one at the least."""
    whole = max(1, len(token_ids) // size)
    count = max(1, min(whole, tokens // size))
    starts = [size * (i * whole // count) for i in range(count)]
    return [token_ids[start : start + size] for start in starts]


def surprises(model: EveryRow, texts: list[list[int]], name: str) -> list[float]:
    """-ln p of every token but the first of each text, as the model foresees it."""
    found: list[float] = []
    for number, text in enumerate(texts, start=1):
        so_far = f", {math.exp(statistics.fmean(found)):.3f} so far" if found else ""
        progress(f"{name}: window {number} of {len(texts)}{so_far} ...")
        found += surprises_of(model.logits(text), text)
    return found


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Perplexity, and its ratio to float32's with the standard error of that, from the same tokens."""

    perplexity: float
    ratio: float
    ratio_error: float

    @classmethod
    def of(cls, found: list[float], *, float32: list[float]) -> "Quality":
        worse = [mine - exact for mine, exact in zip(found, float32, strict=True)]
        ratio = math.exp(statistics.fmean(worse))
        return cls(
            perplexity=math.exp(statistics.fmean(found)),
            ratio=ratio,
            ratio_error=ratio * statistics.pstdev(worse) / math.sqrt(len(worse)),
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a model; the quick start's where none is given")
    parser.add_argument("--text", type=Path, help="a UTF-8 file; Python's reference where none is given")
    parser.add_argument("--tokens", type=int, default=24576, help="of the text, at the most")
    parser.add_argument("--window", type=int, default=1024, help="tokens that are computed together")
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--peers", nargs="*", default=[], choices=SCORERS, help="other engines")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "perplexity.json")
    given = parser.parse_args(argv)
    transformers_logging.disable_progress_bar()
    folder = given.model or ensure_model(_VAR_DIR, lambda text: progress(text, last=True))
    text = Text.of_file(given.text) if given.text else python_reference()
    window = min(given.window, context_length(AutoConfig.from_pretrained(folder)))
    token_ids = AutoTokenizer.from_pretrained(folder)(text.content, verbose=False).input_ids
    if min(window, len(token_ids)) < 2:
        parser.error("a window has to be 2 tokens or more, and so has the text")
    texts = windows(token_ids, size=window, tokens=given.tokens)
    tokens = sum(len(window) for window in texts)
    about = f"{folder.name}, {tokens} tokens of {text.name}, in windows of {window}"
    progress(about, last=True)
    peers = [entry for entry in entries(given.peers) if entry.module in given.peers]
    measured = measure(folder, texts, window=window, threads=given.threads, peers=peers)
    save(
        given.out,
        about={
            "model": folder.name,
            "text": text.name,
            "tokens": tokens,
            "window": window,
            "versions": {"torch": version("torch")},
        },
        measured={"quality": {name: vars(quality) for name, quality in measured.items()}},
    )
    rows = [
        [
            name,
            f"{quality.perplexity:.3f}",
            "1" if name == "float32" else f"{quality.ratio:.4f} ±{quality.ratio_error:.4f}",
        ]
        for name, quality in measured.items()
    ]
    print(f"{about}:\n\n{markdown(['precision', 'perplexity', ': float32'], rows)}")


def by_peer(entry: Entry, folder: Path, texts: list[list[int]], *, threads: int) -> list[float]:
    """As another engine foresees the texts.

    Raises:
        NotHere: it does not run here.
    """
    # The peers' conversions of the model lie beside it.
    beside = BENCH_DIR / folder.name
    if not beside.exists():
        BENCH_DIR.mkdir(parents=True, exist_ok=True)
        beside.symlink_to(folder.resolve())
    with ContenderProcess(entry, beside, threads=threads) as peer:
        progress(f"{entry.name}: loading ...")
        peer.wait_ready()
        progress(f"{entry.name}: {peer.path}", last=True)
        return peer.surprises(texts)


def measure(
    folder: Path, texts: list[list[int]], *, window: int, threads: int, peers: Sequence[Entry] = ()
) -> dict[str, Quality]:
    """Float32, each narrower format that this CPU computes, and the peers, by name."""

    def found_by(name: str, dtype: WeightDtype, cache: KVCacheDtype = "auto") -> list[float]:
        progress(f"{name}: loading ...")
        model = EveryRow(folder, window=window, threads=threads, dtype=dtype, cache=cache)
        return surprises(model, texts, name)

    float32 = found_by("float32", "float32")
    measured = {"float32": Quality.of(float32, float32=float32)}
    for narrow in _NARROW:
        try:
            found = found_by(narrow.name, narrow.dtype, narrow.cache)
        except ModelUnavailable as reason:
            progress(f"{narrow.name} is left out: {reason}", last=True)
        else:
            measured[narrow.name] = Quality.of(found, float32=float32)
    for entry in peers:
        try:
            found = by_peer(entry, folder, texts, threads=threads)
        except NotHere as error:
            progress(f"{entry.name} is left out: {error}", last=True)
        else:
            measured[entry.name] = Quality.of(found, float32=float32)
    return measured


if __name__ == "__main__":
    main()
