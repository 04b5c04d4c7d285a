"""The folder of packed weights, which several processes use at once."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.compute.packed import shared_memory
from inference.engine.compute.packed.store import PackedWeights
from inference.engine.compute.packed.tensor_file import TensorWriter
from inference.engine.compute.packed.tensors import tensor_at

pytestmark = pytest.mark.slow  # It starts processes.


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "var" / "weights"


def test_at_most_two_files_are_kept_those_used_last(kept: Path) -> None:
    packed = PackedWeights(kept)
    for key in ("a", "b", "a", "c"):
        packed.open(key, lambda writer: {"x": writer.add(torch.ones(3))}, size=1)
        for age, file in enumerate(sorted(kept.glob("*.weights"), key=lambda file: -file.stat().st_mtime)):
            os.utime(file, (1e9 - age, 1e9 - age))
    (kept / "d.part").touch()
    assert {file.name for file in kept.glob("*.weights")} == {"a.weights", "c.weights"}
    packed.open("e", lambda writer: {"x": writer.add(torch.ones(3))}, size=1)
    assert {file.name for file in kept.glob("*.weights")} == {"c.weights", "e.weights"}
    assert not (kept / "d.part").exists()


def test_memory_without_huge_pages_is_not_filled_first(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[int] = []
    monkeypatch.setattr(shared_memory, "_huge_bytes", lambda address: 0)
    with pytest.raises(shared_memory.NoHugePages):
        shared_memory.create("none", 1, lambda memory: filled.append(len(memory)))
    assert not filled


def test_another_users_process_with_the_number_of_one_that_has_ended_is_no_owner(kept: Path) -> None:
    store = PackedWeights(kept)
    one = store.open("key", lambda writer: {"x": writer.add(torch.arange(9))}, size=1)
    assert one is not None
    if not (kept / "key.shared").exists():
        pytest.skip("this system has no huge pages for shared memory")
    with (kept / "key.shared").open("a") as addresses:
        addresses.write("1 1000000\n")
    assert store.open("key", lambda writer: {}, size=1) is not None
    assert "1 1000000" not in (kept / "key.shared").read_text()


def test_a_damaged_compiled_model_in_a_folder_that_nothing_can_change_is_passed_over(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PackedWeights(kept)
    store.open("key", lambda writer: {"x": writer.add(torch.arange(9))}, size=1)
    (kept / "key.compiled").write_bytes(b"damaged")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert store.read_compiled("key") is None
    store.discard("key")
    assert store.find("key") is not None


def test_weights_are_found_where_their_memory_cannot_be_announced(kept: Path) -> None:
    """As on a full disk."""
    store = PackedWeights(kept)
    store.open("key", lambda writer: {"x": writer.add(torch.arange(9))}, size=1)
    (kept / "key.shared").unlink(missing_ok=True)
    (kept / "key.shared").mkdir()
    assert store.find("key") is not None


def test_of_starts_at_once_one_packs_and_the_others_wait_for_it(kept: Path) -> None:
    packs = []

    def pack(writer: TensorWriter) -> dict[str, Any]:
        packs.append(threading.get_ident())
        time.sleep(0.3)  # so that the others come meanwhile
        return {"x": writer.add(torch.arange(1000))}

    opened: list[torch.Tensor] = []

    def start() -> None:
        packed = PackedWeights(kept).open("key", pack, size=1)
        assert packed is not None
        opened.append(tensor_at(packed.memory, packed.description["x"]))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(packs) == 1
    assert [torch.equal(x, torch.arange(1000)) for x in opened] == [True] * 4


def test_a_start_takes_over_from_one_that_was_killed_while_it_packed(kept: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from inference.engine.compute.packed.store import PackedWeights\n"
        "PackedWeights(Path(sys.argv[1])).open('key', lambda writer: os._exit(9), size=1)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(kept)], check=False)
    assert killed.returncode == 9
    packed = PackedWeights(kept).open("key", lambda writer: {"x": writer.add(torch.ones(2))}, size=1)
    assert packed is not None
    assert not list(kept.glob("*.part"))


def test_processes_share_the_memory_of_the_weights(kept: Path) -> None:
    one = PackedWeights(kept).open("key", lambda writer: {"x": writer.add(torch.arange(9))}, size=1)
    assert one is not None
    if not (kept / "key.shared").exists():
        pytest.skip("this system has no huge pages for shared memory")
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from inference.engine.compute.packed import shared_memory\n"
        "from inference.engine.compute.packed.store import PackedWeights\n"
        "shared_memory.create = None\n"
        "print(PackedWeights(Path(sys.argv[1])).open('key', None, size=1).memory[:72].tolist())\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, str(kept)], check=True, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.strip() == str(one.memory[:72].tolist())
    # It has ended since, and is no longer among those that have the memory.
    PackedWeights(kept).open("key", lambda writer: {}, size=1)
    owners = {line.split()[0] for line in (kept / "key.shared").read_text().splitlines()}
    assert owners == {str(os.getpid())}
