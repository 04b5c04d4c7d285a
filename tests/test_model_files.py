"""What is wrong with a model's files is said before anything is loaded, by the name of the file."""

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
    """A model whose weights are in several files."""
    folder = tmp_path / "in-parts"
    tiny_gpt2().save_pretrained(folder, max_shard_size="200KB")
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_sound_files_are_let_through(folder: Path, in_parts: Path) -> None:
    model_files.check(folder)
    model_files.check(in_parts)


def test_weights_that_are_cut_off_are_said_to_be(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for size, reason in [
        (0, r"cut off or no safetensors file \(0 bytes\)"),
        (5, "cut off or no"),
        (100, "cut off or no"),
        (len(whole) // 2, rf"cut off \({len(whole) // 2} of {len(whole)} bytes are there\)"),
        (len(whole) - 1, r"cut off \("),
    ]:
        weights.write_bytes(whole[:size])
        with pytest.raises(ModelFilesError, match=rf"^model\.safetensors is {reason}"):
            model_files.check(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<html>not found, and so on</html>", "no safetensors file"),
        (b"\x02" + bytes(7) + b"[]", "no safetensors file"),
        (b"\x08" + bytes(7) + b'{"a": 1}', "no safetensors file"),
    ],
)
def test_what_is_no_weights_is_said_to_be(folder: Path, content: bytes, reason: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFilesError, match=reason):
        model_files.check(folder)


def test_a_part_that_is_not_there_is_named(in_parts: Path) -> None:
    part = sorted(in_parts.glob("*.safetensors"))[1]
    part.unlink()
    with pytest.raises(Incomplete, match=f"lacks {part.name}"):
        model_files.check(in_parts)


def test_a_link_to_a_file_that_is_gone_is_named(folder: Path) -> None:
    """As in a cache whose large files were deleted."""
    weights = folder / "model.safetensors"
    weights.unlink()
    weights.symlink_to("/no/such/file")
    with pytest.raises(Incomplete, match=r"model\.safetensors cannot be read \(No such file"):
        model_files.check(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({"weight_map": 1})])
def test_an_index_that_is_none_is_named(in_parts: Path, content: str) -> None:
    (in_parts / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelFilesError, match=r"index\.json is damaged"):
        model_files.check(in_parts)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_may_not_be_read_is_named_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    open_file: Callable[..., object] = Path.open

    def refuse(self: Path, *args: object) -> object:
        # The permission itself would not stop a test that runs as root.
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return open_file(self, *args)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelFilesError, match=rf"{name} cannot be read \(Permission denied\)"):
        model_files.check(folder)
