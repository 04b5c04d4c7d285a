"""Compiling the kernels: for every generation of CPUs, and again when the sources change."""

import os
import platform
import shutil
from pathlib import Path

import pytest

from inference.engine.native import build
from inference.engine.native import kernels as native
from tests.native_sources import copy_sources, needs_compiler

pytestmark = needs_compiler


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return copy_sources(monkeypatch, tmp_path)


def test_no_compiler_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert build.build() == []
    assert native.load() is None


@pytest.mark.slow
def test_one_image_serves_every_generation_of_cpus() -> None:
    built = {library.name.split("-")[1] for library in build.build()}
    expected = {"any"}
    if platform.machine() == "x86_64":
        expected |= {"avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"}
    if platform.machine() == "aarch64":
        expected |= {"arm_dotprod"}
    assert built == expected


@pytest.mark.slow
def test_kernels_of_other_sources_are_not_used_and_give_way_to_new_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "GENERATIONS", {"any": []})
    build.build()
    with (folder / "panels.h").open("a") as source:
        source.write("// another line\n")
    build._contents.cache_clear()  # as another process would read them
    assert build.built("any") is None

    (library,) = build.build()
    assert list(folder.glob("*.so")) == [library]


@pytest.mark.slow
def test_kernels_are_used_however_old_their_files_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "GENERATIONS", {"any": []})
    (library,) = build.build()
    os.utime(library, (0, 0))
    assert build.built("any") == library


@pytest.mark.slow
def test_kernels_may_be_in_another_folder_than_their_sources(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "GENERATIONS", {"any": []})
    monkeypatch.setenv("KERNELS_DIR", str(tmp_path / "elsewhere"))
    (library,) = build.build()
    assert library.parent == tmp_path / "elsewhere"
    assert not list(folder.glob("*.so"))


@pytest.mark.slow
def test_sources_that_do_not_compile_are_said_and_the_engine_goes_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "GENERATIONS", {"any": []})
    (folder / "linear.cpp").write_text("this is no C++")
    assert build.build() == []
    assert "The compiler failed on the kernels for any" in capsys.readouterr().err


@pytest.mark.slow
def test_further_options_make_another_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "GENERATIONS", {"any": []})
    build.build()
    monkeypatch.setenv("KERNELS_FLAGS", "-O0 -DSANITIZED")
    assert build.built("any") is None

    (library,) = build.build()
    assert build.built("any") == library
