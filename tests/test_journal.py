"""The file of accounts that wait for the database outlives its process, and is adopted once."""

import fcntl
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from accounts.limits.journal import Journal
from accounts.limits.settlement import Settlement
from accounts.models import Outcome
from llmservice.environment import BASE_DIR

pytestmark = pytest.mark.slow  # It starts processes.

# A process that writes one account and is killed, as the kernel kills it.
KILLED = """
import os, signal, sys
from pathlib import Path
import django
django.setup()
from accounts.limits.journal import Journal
from tests.test_journal import settlement
Journal(Path(sys.argv[1])).add(settlement(7))
os.kill(os.getpid(), signal.SIGKILL)
"""


def settlement(number: int) -> Settlement:
    return Settlement(
        reservation_id=number,
        key_id=3,
        day=date(2026, 11, 25),
        deadline=datetime(2026, 11, 25, 12, 0, 0, 123456, tzinfo=UTC),
        outcome=Outcome.FINISHED,
        prompt_tokens=10 * number,
        completion_tokens=number,
    )


def left_by_a_killed_process(folder: Path) -> Path:
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "llmservice.settings", "VAR_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=BASE_DIR, env=environ, check=False)
    [path] = folder.glob("*.jsonl")
    return path


def adopt(journal: Journal) -> list[Settlement]:
    return [one for file in journal.adopt() for one in file.settlements]


def test_what_a_killed_process_wrote_is_adopted_as_it_was(tmp_path: Path) -> None:
    left_by_a_killed_process(tmp_path)
    assert adopt(Journal(tmp_path)) == [settlement(7)]


def test_a_file_is_adopted_by_one_process_only_and_by_the_next_if_that_one_ends_too(tmp_path: Path) -> None:
    left_by_a_killed_process(tmp_path)
    one, other = Journal(tmp_path), Journal(tmp_path)
    [file] = one.adopt()
    assert adopt(other) == []
    file.release()
    [file] = other.adopt()
    assert file.settlements == (settlement(7),)
    file.remove()
    assert adopt(one) == []
    assert not list(tmp_path.glob("*.jsonl"))


def test_the_file_of_a_living_process_is_not_adopted(tmp_path: Path) -> None:
    living = Journal(tmp_path)
    living.add(settlement(1))
    assert adopt(Journal(tmp_path)) == []
    living.close()
    assert adopt(Journal(tmp_path)) == [settlement(1)]


def test_a_torn_last_line_is_ignored_and_the_lines_before_it_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = left_by_a_killed_process(tmp_path)
    line = settlement(8).to_json()
    for torn in (line[: len(line) // 2], "{}", "[1]", '"\\ud800'):
        caplog.clear()
        path.write_text(f"{settlement(7).to_json()}\n{torn}")
        [file] = Journal(tmp_path).adopt()
        assert file.settlements == (settlement(7),)
        assert "is not complete" in caplog.text
        file.release()


def test_a_line_is_on_the_disk_before_the_answer_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[str, bytes] = {}
    fsync = os.fsync

    def record(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced[path.suffix] = b"" if path.is_dir() else path.read_bytes()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    Journal(tmp_path / "new").add(settlement(1))
    # The file's content, and the folder's entry for it.
    assert synced == {".jsonl": settlement(1).to_json().encode() + b"\n", "": b""}


def test_a_line_that_did_not_fit_on_the_disk_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.add(settlement(1))
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
    with pytest.raises(OSError, match="only a part"):
        journal.add(settlement(2))
    monkeypatch.undo()
    journal.add(settlement(3))
    journal.close()
    assert adopt(Journal(tmp_path)) == [settlement(1), settlement(3)]


def test_the_file_is_emptied_when_the_database_has_everything_and_deleted_at_the_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(settlement(1))
    journal.add(settlement(2))
    [path] = tmp_path.iterdir()
    journal.discard(settlement(1))
    assert path.read_text().count("\n") == 2
    journal.discard(settlement(2))
    assert path.read_text() == ""
    journal.add(settlement(3))
    assert path.read_text().count("\n") == 1
    journal.discard(settlement(3))
    journal.close()
    assert not list(tmp_path.iterdir())


def test_a_file_that_its_adopter_deleted_meanwhile_is_not_adopted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left_by_a_killed_process(tmp_path)
    flock = fcntl.flock

    def deleted_before(descriptor: int, operation: int) -> None:
        path.unlink(missing_ok=True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", deleted_before)
    assert adopt(Journal(tmp_path)) == []


def test_only_the_services_user_can_read_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "settlements"
    Journal(folder).add(settlement(1))
    assert folder.stat().st_mode & 0o077 == 0
    [path] = folder.iterdir()
    assert path.stat().st_mode & 0o077 == 0
