"""The image's stage for the native kernels, run without a container engine."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pathspec import PathSpec

from inference.engine.native.build import GENERATIONS
from llmservice.environment import BASE_DIR
from tests.working_tree import copy_working_tree

pytestmark = pytest.mark.skipif(
    shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler is here"
)


def instructions(stage: str) -> list[tuple[str, str]]:
    """The instructions of a stage of the Dockerfile, each with its arguments."""
    text = re.sub(r"^\s*#.*\n", "", (BASE_DIR / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    (first,) = (i for i, line in enumerate(lines) if re.fullmatch(rf"FROM \S+ AS {stage}", line))
    parts = [line.split(maxsplit=1) for line in lines[first + 1 :] if line]
    ours = parts[: next(i for i, (name, *_) in enumerate(parts) if name == "FROM")]
    return [(name, arguments) for name, arguments in ours]


def build_context(folder: Path) -> Path:
    """A folder with the files that the container engine is sent."""
    # Patterns of .dockerignore are relative to its folder, unlike those of .gitignore.
    patterns = [
        re.sub("^(!?)", r"\1/", line)
        for line in (BASE_DIR / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    ignored = PathSpec.from_lines("gitignore", patterns)
    return copy_working_tree(folder, lambda name: not ignored.match_file(name))


def copy(arguments: str, context: Path, work: Path) -> None:
    *sources, target = shlex.split(arguments)
    for source in sources:
        found = list(context.glob(source))
        assert found, f"COPY {source} finds nothing"
        for path in found:
            if path.is_dir():
                shutil.copytree(path, work / target, dirs_exist_ok=True)
            else:
                shutil.copy2(path, work / target)


@pytest.mark.slow
def test_the_kernels_are_built_from_the_files_that_the_image_copies_by_python_alone(tmp_path: Path) -> None:
    context = build_context(tmp_path / "context")
    image = tmp_path / "image"
    # Python as the stage has it: without the packages of this environment.
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
    python.chmod(0o755)
    # Which files are needed, the preprocessor alone finds out.
    environ = {"PATH": f"{python.parent}:{os.environ['PATH']}", "KERNELS_FLAGS": "-MM"}
    work = image

    for name, arguments in instructions("kernels"):
        if name == "WORKDIR":
            work = image / arguments.lstrip("/")
            work.mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            copy(arguments, context, work)
        elif name != "ARG":
            assert name == "RUN", f"{name} is not known here"
            subprocess.run(["sh", "-c", arguments], cwd=work, env=environ, check=True)

    copied = re.search(r"^COPY --from=kernels (\S+) ", (BASE_DIR / "Dockerfile").read_text(), re.MULTILINE)
    assert copied is not None
    built = {file.name.split("-")[1] for file in (image / copied[1].lstrip("/")).glob("kernels-*.so")}
    assert built == set(GENERATIONS)
