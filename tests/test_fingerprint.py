"""The fingerprint changes with whatever changes a text, and with nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.engine import fingerprint as module
from inference.engine import model_weights
from inference.engine.config import EngineConfig
from inference.engine.fingerprint import fingerprint
from inference.engine.loader import load_engine
from tests.models import save_tiny_model

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def change_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = sorted(tensors)[len(tensors) // 2]
    tensors[name] = tensors[name] + 1e-3
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def change_the_configuration(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "layer_norm_epsilon": 1e-6}))


def swap_two_files(folder: Path) -> None:
    one, two = folder / "config.json", folder / "generation_config.json"
    texts = one.read_bytes(), two.read_bytes()
    two.write_bytes(texts[0])
    one.write_bytes(texts[1])


def test_a_copy_has_the_same_whatever_its_folder_and_its_times(model: Path, copy: Path) -> None:
    (copy / ".cache").mkdir()
    (copy / ".DS_Store").write_bytes(b"1")
    assert fingerprint(copy, ["int8"]) == fingerprint(model, ["int8"])
    assert fingerprint(copy, ["int8"]).startswith("fp_")


@pytest.mark.parametrize("change", [change_a_tensor, change_the_configuration, swap_two_files])
def test_other_weights_and_another_configuration_have_another(
    model: Path, copy: Path, change: Callable[[Path], None]
) -> None:
    change(copy)
    assert fingerprint(copy, []) != fingerprint(model, [])


def test_another_arithmetic_has_another(model: Path) -> None:
    ways = [[], ["int8"], ["none"], ["int8", "AVX2"], ["int8AVX2"], ["AVX2", "int8"]]
    assert len({fingerprint(model, way) for way in ways}) == len(ways)


def test_a_large_file_of_another_kind_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READ_WHOLE", 1000)
    file = tmp_path / "pytorch_model.bin"
    content = bytearray(10**6)
    file.write_bytes(content)
    before = fingerprint(tmp_path, [])
    content[500_000:600_000] = b"x" * 100_000
    file.write_bytes(content)
    assert fingerprint(tmp_path, []) != before


def test_weights_made_from_other_numbers_have_another(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for digest in ("one", "one", "another"):
        monkeypatch.setattr(model_weights, "digest_of", lambda squares, digest=digest: digest)
        engine = load_engine(model, name="tiny", config=EngineConfig(kv_cache_tokens=512))
        found.append(engine.fingerprint)
        engine.stop()
    assert None not in found
    assert found[0] == found[1] != found[2]


def test_an_engine_has_one_of_its_model_and_its_arithmetic(model: Path) -> None:
    found = []
    for config in (EngineConfig(kv_cache_tokens=512), EngineConfig(kv_cache_tokens=600, threads=1)):
        engine = load_engine(model, name="tiny", config=config)
        found.append(engine.fingerprint)
        engine.stop()
    assert found[0] == found[1]
    other = load_engine(model, name="tiny", config=EngineConfig(kv_cache_tokens=512, dtype="int8"))
    other.stop()
    assert None not in found
    assert other.fingerprint != found[0]
    torch.set_num_threads(1)
