import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from inference import model_hub, model_source
from inference.engine.errors import ModelUnavailable
from tests.models import save_tiny_model


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "my-model")
    model_source.check(str(folder))
    assert model_source.fetch(str(folder)) == folder
    assert model_source.public_name(str(folder)) == "my-model"


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_a_folder_without_a_model_is_named_with_the_reason(tmp_path: Path, missing: str, reason: str) -> None:
    folder = save_tiny_model(tmp_path)
    (folder / missing).unlink()
    for look in (model_source.check, model_source.fetch):
        with pytest.raises(ModelUnavailable, match=f"{folder} cannot be served: .*{reason}.*quick-start"):
            look(str(folder))


@pytest.mark.parametrize("name", ["/no/such/folder", "./nor/this", "~/nor-that"])
def test_the_hub_is_never_asked_for_a_path(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(ModelUnavailable, match="the folder does not exist"):
        model_source.check(name)


def test_an_invalid_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelUnavailable, match="neither a folder nor the name of a model"):
        model_source.check("not a model!")


def test_an_unreachable_hub_is_reported_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def model_info(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known\nand more")

    monkeypatch.setattr(HfApi, "model_info", model_info)
    for look in (model_source.check, model_source.fetch):
        with pytest.raises(ModelUnavailable) as refused:
            look("nobody/no-such-model")
        assert "nobody/no-such-model cannot be served" in str(refused.value)
        assert "cannot be reached (Name or service not known)" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_hub_that_never_answers_does_not_block_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_hub, "CHECK_TIMEOUT_S", 0.05)
    never = threading.Event()
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: never.wait(60))
    with pytest.raises(ModelUnavailable, match="did not answer"):
        model_source.check("nobody/no-such-model")
    never.set()


def test_a_model_on_the_hub_passes_the_check_without_a_download(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: object())
    monkeypatch.setattr(model_hub, "snapshot_download", not_cached)
    model_source.check("openai-community/gpt2-medium")
    assert model_source.public_name("openai-community/gpt2-medium") == "openai-community/gpt2-medium"


def not_cached(name: str, *, local_files_only: bool = False, **_: object) -> str:
    assert local_files_only
    raise ValueError("not in the cache")


def test_the_hub_is_not_asked_for_a_damaged_model_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path)
    (folder / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.setattr(model_hub, "snapshot_download", lambda *_, **__: str(folder))
    for look in (model_source.check, model_source.fetch):
        with pytest.raises(ModelUnavailable, match=r"model\.safetensors is truncated"):
            look("openai-community/gpt2-medium")


@pytest.mark.slow
def test_a_folder_needs_no_client_of_the_hub(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    program = (
        "import sys; from inference import model_source; model_source.check(sys.argv[1]); "
        "print({'huggingface_hub', 'torch'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True)
    assert done.stdout == "set()\n"
