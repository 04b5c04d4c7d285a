"""Python and the kernels agree on the layout of what they pass to each other, or the kernels are not used."""

import logging
from pathlib import Path

import pytest

from inference.engine.native import build
from inference.engine.native import kernels as native
from inference.engine.native.instructions import OPERATIONS, Instruction, Operand
from tests.native_sources import copy_sources, needs_compiler


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the kernels' sources, which are built for any CPU."""
    monkeypatch.setattr(build, "GENERATIONS", {"any": []})
    return copy_sources(monkeypatch, tmp_path)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            ("row, rows, past, table;", "row, past, rows, table;"),
            "past:8:8",
        ),
        (("int64_t tile_count;", "int32_t tile_count;"), "tile_count:"),
        (("NAME(copy, ", "NAME(copy, UnaryOperands) NAME(square, "), "square:UnaryOperands"),
        (("NAME(fixed) NAME(workspace)", "NAME(workspace) NAME(fixed)"), "memories workspace fixed input"),
    ],
)
def test_a_library_of_another_layout_is_refused_with_one_sentence(
    sources: Path, change: tuple[str, str], difference: str, caplog: pytest.LogCaptureFixture
) -> None:
    header = sources / "abi.h"
    assert change[0] in header.read_text()
    header.write_text(header.read_text().replace(*change))
    (library,) = build.build()

    assert native._open(library) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert difference in record.getMessage()
    assert "make both agree" in record.getMessage()


def test_a_file_that_is_no_library_is_refused_with_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "kernels.so"
    broken.write_text("no library")
    assert native._open(broken) is None
    assert (
        f"The native kernels are not used, so the engine is slower: {broken} cannot be loaded" in caplog.text
    )


def test_an_instruction_takes_its_operands_by_their_names() -> None:
    left, right, out = (Operand(base=i) for i in (1, 2, 3))
    instruction = Instruction.of("subtract", out=out, right=right, left=left)
    assert OPERATIONS[instruction.operation] == "subtract"
    stored = instruction.operands.subtract
    assert (stored.left.base, stored.right.base, stored.out.base) == (1, 2, 3)


@pytest.mark.parametrize("names", [("left", "out"), ("x", "out"), ("left", "right", "out", "bias")])
def test_an_instruction_refuses_other_operands(names: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match=r"subtract takes \['left', 'out', 'right'\]"):
        Instruction.of("subtract", **{name: Operand() for name in names})
