"""This project's engine with the service's default settings, which compute prompts in small chunks.

Used to measure memory, because larger chunks take more of it; `service` is used to measure speed.
"""

from pathlib import Path

from benchmarks.contenders.service import Service, config, load_with


def load(folder: Path, *, precision: str, threads: int) -> Service:
    return load_with(folder, config(precision=precision, threads=threads))
