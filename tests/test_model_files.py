"""Mistakes in the files of a model are reported before anything is loaded, with the name of the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inference import model_files
from inference.model_files import Incomplete, ModelFilesError
from tests.models import byte_tokenizer, save_tiny_model, tiny_gpt2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path)


@pytest.fixture
def in_parts(tmp_path: Path) -> Path:
    """A model whose weights are divided among several files."""
    folder = tmp_path / "in-parts"
    tiny_gpt2().save_pretrained(folder, max_shard_size="200KB")
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_complete_files_are_accepted(folder: Path, in_parts: Path) -> None:
    model_files.check(folder)
    model_files.check(in_parts)


def test_truncated_weights_are_reported(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for size, reason in [
        (0, r"truncated or not a safetensors file \(0 bytes\)"),
        (5, "truncated or not"),
        (100, "truncated or not"),
        (len(whole) // 2, rf"truncated \({len(whole) // 2} of {len(whole)} bytes\)"),
        (len(whole) - 1, r"truncated \("),
    ]:
        weights.write_bytes(whole[:size])
        with pytest.raises(ModelFilesError, match=rf"^model\.safetensors is {reason}"):
            model_files.check(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<html>not found, and so on</html>", "not a safetensors file"),
        (b"\x02" + bytes(7) + b"[]", "not a safetensors file"),
        (b"\x08" + bytes(7) + b'{"a": 1}', "not a safetensors file"),
    ],
)
def test_a_file_that_contains_no_weights_is_reported(folder: Path, content: bytes, reason: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFilesError, match=reason):
        model_files.check(folder)


def test_a_missing_part_is_named(in_parts: Path) -> None:
    part = sorted(in_parts.glob("*.safetensors"))[1]
    part.unlink()
    with pytest.raises(Incomplete, match=f"lacks {part.name}"):
        model_files.check(in_parts)


def test_a_dangling_link_is_named(folder: Path) -> None:
    """As in a cache from which the large files were deleted."""
    weights = folder / "model.safetensors"
    weights.unlink()
    weights.symlink_to("/no/such/file")
    with pytest.raises(Incomplete, match=r"model\.safetensors cannot be read \(No such file"):
        model_files.check(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({"weight_map": 1})])
def test_a_damaged_index_is_named(in_parts: Path, content: str) -> None:
    (in_parts / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelFilesError, match=r"index\.json is damaged"):
        model_files.check(in_parts)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_unreadable_file_is_named_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    open_file: Callable[..., object] = Path.open

    def refuse(self: Path, *args: object) -> object:
        # Root may read a file whatever its permissions.
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return open_file(self, *args)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelFilesError, match=rf"{name} cannot be read \(Permission denied\)"):
        model_files.check(folder)
