"""The CPU's generation is found without PyTorch, and is what PyTorch says."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inference.engine.native import generation

X86 = platform.machine().lower() in {"x86_64", "amd64"}
on_x86 = pytest.mark.skipif(not X86, reason="this is no x86 CPU")
FURTHER = {"avx512_vnni", "avx512_bf16", *generation._TILES}


@on_x86
@pytest.mark.slow  # starts processes
@pytest.mark.parametrize("limit", [None, "default", "avx2", "avx512", "AVX2", ""])
def test_the_vector_instructions_are_those_that_pytorch_uses(limit: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    if limit is not None:
        environment["ATEN_CPU_CAPABILITY"] = limit
    script = (
        "import sys\nfrom inference.engine.native import generation\n"
        "print(generation.capability(), 'torch' in sys.modules)\n"
        "import torch\nprint(torch.backends.cpu.get_cpu_capability())\n"
    )
    asked = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=Path(__file__).parents[1],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    ours, imported, theirs = asked.stdout.split()
    assert ours == theirs
    assert imported == "False" or platform.system() != "Linux"


@on_x86
def test_the_further_instructions_are_those_that_pytorch_finds() -> None:
    flags = generation._flags()
    assert ("avx512_vnni" in flags) == torch.cpu._is_vnni_supported()
    assert ("avx512_bf16" in flags) == torch.cpu._is_avx512_bf16_supported()
    found = torch.cpu.get_capabilities()
    assert flags & FURTHER == {name for name in FURTHER if found[name]}


@on_x86
def test_the_tile_registers_are_permitted_where_pytorch_gets_them() -> None:
    assert generation._tiles_permitted() == bool(torch.cpu._init_amx())


@on_x86
def test_a_system_that_lists_no_flags_asks_pytorch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = generation.generation()
    monkeypatch.setattr(generation, "_CPUINFO", tmp_path / "missing")
    generation._flags.cache_clear()
    generation._has_tiles.cache_clear()
    try:
        assert generation.generation() == expected
    finally:
        generation._flags.cache_clear()
        generation._has_tiles.cache_clear()


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        ("fpu sse2 avx", "any"),
        ("fpu sse2 avx avx2", "any"),  # without fused multiplication
        ("fpu sse2 avx fma avx2", "avx2"),
        ("fpu fma avx2 avx512f avx512cd", "avx2"),
        ("fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl", "avx512"),
        ("fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni", "avx512_vnni"),
        ("fma avx2 avx_vnni", "avx2"),
    ],
)
def test_the_flags_of_a_cpu_name_its_generation(
    flags: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "processor\t: 0\n",
        f"flags\t\t: {flags}\n",
        "vmx flags\t: avx512f\n",
        "flags\t\t: all\n",
    ]
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setattr(generation, "GENERATIONS", {"any": [], "avx2": []})
    monkeypatch.setattr(generation, "_flags", lambda: generation._flags_of(lines))
    assert generation.generation() == chosen


def test_a_limit_of_pytorch_limits_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "GENERATIONS", {"any": [], "avx2": []})
    monkeypatch.setattr(generation, "_flags", lambda: generation._AVX512 | FURTHER)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert generation.generation() == "avx2"
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert generation.generation() == "any"
