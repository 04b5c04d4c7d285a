"""Tile registers give the bits of vector instructions, in plain C++ and with AMX where this CPU has it."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.native import build, generation
from inference.engine.native.abi import Int8LinearCall
from tests.examples import examples

Multiply = Callable[[dict[str, torch.Tensor], int, int, int], torch.Tensor]
_CHUNK = 64


def _bound(generation: str, function: str) -> Multiply:
    path = build.built(generation)
    if path is None:
        pytest.skip(f"the kernels for {generation} were not built")
    kernel = getattr(ctypes.CDLL(str(path)), function)
    kernel.argtypes, kernel.restype = [ctypes.POINTER(Int8LinearCall)], None

    def multiply(
        tensors: dict[str, torch.Tensor], width: int, group_chunks: int, threads: int
    ) -> torch.Tensor:
        x = tensors["x"]
        out = torch.full((len(x), width), torch.nan)
        kernel(
            Int8LinearCall(
                **{name: tensor.data_ptr() for name, tensor in tensors.items()},
                out=out.data_ptr(),
                rows=len(x),
                depth=x.shape[1],
                width=width,
                group_chunks=group_chunks,
                threads=threads,
            )
        )
        return out

    return multiply


@pytest.fixture(params=["avx512_vnni", "amx"], scope="module")
def on_tiles(request: pytest.FixtureRequest) -> Multiply:
    """The 8-bit layer on tiles: those of plain C++, and those of the CPU."""
    known = list(build.GENERATIONS)
    if known.index(generation.generation()) < known.index(request.param):
        pytest.skip(f"this CPU cannot run the kernels for {request.param}")
    return _bound(request.param, "int8_linear_on_tiles")


@settings(max_examples=examples(40), deadline=None)
@given(
    rows=st.integers(1, 40),
    depth=st.integers(1, 2400),
    width=st.integers(1, 100),
    group_chunks=st.integers(1, 16),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_tiles_give_the_bits_of_vectors(
    on_tiles: Multiply, rows: int, depth: int, width: int, group_chunks: int, threads: int, seed: int
) -> None:
    vectors = _bound("avx512_vnni", "int8_linear")
    generator = torch.Generator().manual_seed(seed)
    panels, quads = -(-width // 16), -(-depth // _CHUNK) * 16
    weights = torch.randint(0, 256, (panels, quads, 16, 4), dtype=torch.uint8, generator=generator)
    scales, bias = torch.rand(2, panels * 16, generator=generator)
    input_scales = torch.rand(depth, generator=generator) + 0.5
    x = torch.randn(rows, depth, generator=generator)
    x[torch.rand(x.shape, generator=generator) < 0.02] *= 1000
    x[torch.rand(x.shape, generator=generator) < 0.001] = torch.nan
    x[torch.rand(x.shape, generator=generator) < 0.001] = torch.inf
    tensors = {"weights": weights, "scales": scales, "input_scales": input_scales, "bias": bias, "x": x}
    expected = vectors(tensors, width, group_chunks, 1)
    torch.testing.assert_close(
        on_tiles(tensors, width, group_chunks, threads),
        expected,
        rtol=0,
        atol=0,
        equal_nan=True,
    )


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The instructions of an x86 CPU with VNNI, AVX512-BF16 and tiles, which a test may change."""
    flags = {*generation._AVX512, "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"}
    monkeypatch.setattr(generation, "_flags", lambda: flags)
    monkeypatch.setattr(generation, "built", Path)
    generation._has_tiles.cache_clear()
    yield flags
    generation._has_tiles.cache_clear()


@pytest.mark.parametrize(
    ("lacks", "chosen"),
    [
        ([], "amx"),
        (["amx_bf16"], "avx512_bf16"),
        (["amx_tile", "amx_int8", "amx_bf16"], "avx512_bf16"),
        (["amx_tile", "amx_int8", "amx_bf16", "avx512_bf16"], "avx512_vnni"),
    ],
)
def test_a_cpu_takes_the_kernels_whose_instructions_it_has(
    cpu: set[str], monkeypatch: pytest.MonkeyPatch, lacks: list[str], chosen: str
) -> None:
    monkeypatch.setattr(generation, "_tiles_permitted", lambda: True)
    cpu -= set(lacks)
    assert generation.generation() == chosen


@pytest.mark.usefixtures("cpu")
def test_a_system_that_refuses_tiles_is_named_and_vectors_multiply(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(generation, "_tiles_permitted", lambda: False)
    assert generation.cpu_name() == "AVX-512 with bfloat16"
    assert generation.cpu_name() == "AVX-512 with bfloat16"
    (line,) = caplog.messages
    assert "AMX" in line
