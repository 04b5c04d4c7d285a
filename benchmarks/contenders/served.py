"""This project's engine with the service's own settings: prompts come in by parts, as `LLM_…` have it.

For memory, which larger parts cost more of; for speed see `service`.
"""

from pathlib import Path

from benchmarks.contenders.service import Service, config, load_with


def load(folder: Path, *, precision: str, threads: int) -> Service:
    return load_with(folder, config(precision=precision, threads=threads))
