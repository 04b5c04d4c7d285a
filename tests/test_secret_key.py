import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from django.core.exceptions import ImproperlyConfigured

from llmservice.secret_key import load_or_create_secret_key


def test_the_key_is_created_once_and_stored(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret_key"

    key = load_or_create_secret_key(path)

    assert len(key) >= 50
    assert load_or_create_secret_key(path) == key
    assert load_or_create_secret_key(tmp_path / "another") != key


def test_only_its_owner_can_read_the_file_and_no_other_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"

    load_or_create_secret_key(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_start_at_the_same_time_get_the_same_key(tmp_path: Path) -> None:
    together = Barrier(8)

    def start() -> str:
        together.wait()
        return load_or_create_secret_key(tmp_path / "secret_key")

    with ThreadPoolExecutor(8) as pool:
        keys = [future.result() for future in [pool.submit(start) for _ in range(8)]]

    assert len(set(keys)) == 1


def test_a_folder_that_cannot_be_created_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ImproperlyConfigured, match=r"^The secret key cannot be stored in .*: set SECRET_KEY"):
        load_or_create_secret_key(tmp_path / "file" / "secret_key")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("\n")

    with pytest.raises(ImproperlyConfigured, match="is empty"):
        load_or_create_secret_key(tmp_path / "secret_key")
