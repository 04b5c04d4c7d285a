"""Whether memory holds one more worker, from the files of the kernel."""

from pathlib import Path

import pytest

from llmservice.spare_memory import holds_one_more

MIB = 1 << 20
V2 = ("memory.max", "memory.current", "memory.stat", "inactive_file")
V1 = (
    "memory/memory.limit_in_bytes",
    "memory/memory.usage_in_bytes",
    "memory/memory.stat",
    "total_inactive_file",
)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 1000 MiB available, and two workers of 300 and 200 MiB."""
    folder = tmp_path / "proc"
    for pid, size in ((7, 300), (8, 200)):
        (folder / str(pid)).mkdir(parents=True)
        (folder / str(pid) / "status").write_text(f"Name:\tpython\nRssAnon:\t{size * 1024} kB\n")
    (folder / "meminfo").write_text("MemTotal: 4096000 kB\nMemAvailable: 1024000 kB\n")
    return folder


def test_the_machine_has_to_have_room_for_the_largest_worker(proc: Path, tmp_path: Path) -> None:
    assert holds_one_more([7, 8], proc=proc, cgroup=tmp_path / "none")

    (proc / "meminfo").write_text(f"MemAvailable: {299 * 1024} kB\n")
    assert not holds_one_more([7, 8], proc=proc, cgroup=tmp_path / "none")
    assert holds_one_more([8], proc=proc, cgroup=tmp_path / "none")


@pytest.mark.parametrize("names", [V2, V1])
@pytest.mark.parametrize(("limit", "expected"), [(900, True), (700, False)])
def test_the_control_group_has_to_have_room_and_its_unused_pages_of_files_count_as_room(
    proc: Path, tmp_path: Path, names: tuple[str, ...], limit: int, expected: bool
) -> None:
    maximum, used, stat, inactive = names
    group = tmp_path / "cgroup"
    (group / "memory").mkdir(parents=True)
    (group / maximum).write_text(f"{limit * MIB}\n")
    (group / used).write_text(f"{600 * MIB}\n")
    (group / stat).write_text(f"anon {500 * MIB}\n{inactive} {100 * MIB}\n")

    assert holds_one_more([7], proc=proc, cgroup=group) is expected


def test_a_control_group_without_a_limit_limits_nothing(proc: Path, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")

    assert holds_one_more([7], proc=proc, cgroup=tmp_path)


def test_a_worker_that_has_just_ended_needs_nothing(proc: Path, tmp_path: Path) -> None:
    assert holds_one_more([9], proc=proc, cgroup=tmp_path)
    assert holds_one_more([], proc=proc, cgroup=tmp_path)
