"""The worker's one engine, from loading to its end."""

import fcntl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from django.conf import LazySettings

from inference import runtime
from inference.engine.engine import Engine
from inference.engine.errors import ModelUnavailable, Unavailable
from inference.engine.grammar.source import Grammar
from inference.engine.native import kernels
from inference.engine.request import GenerationRequest, SamplingParams
from inference.runtime import State
from tests.models import byte_tokenizer, save_tiny_model, tiny_engine, tiny_of_kind

WAIT_S = 60


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    runtime.stop()


def wait_for(state: State) -> None:
    tick = threading.Event()
    for _ in range(WAIT_S * 100):
        if runtime.status().state is state:
            return
        tick.wait(0.01)
    raise AssertionError(f"{runtime.status()}, not {state}")


def request() -> GenerationRequest:
    return GenerationRequest(prompt=(1, 2, 3), sampling=SamplingParams(), max_new_tokens=200)


@pytest.mark.slow
def test_it_loads_the_model_of_the_settings_beside_the_caller(settings: LazySettings, tmp_path: Path) -> None:
    settings.LLM_MODEL = str(save_tiny_model(tmp_path / "my-tiny"))
    settings.LLM_THREADS = 1
    runtime.start()
    if runtime.status().state is State.LOADING:  # nearly always, since it has only begun
        with pytest.raises(Unavailable, match="loading"):
            runtime.backend()
    wait_for(State.READY)
    assert runtime.backend().model_name == "my-tiny"
    assert runtime.backend().submit(runtime.backend().prepare(request())).result().completion_tokens > 0


@pytest.mark.slow
def test_a_model_with_a_vocabulary_smaller_than_the_warm_up_starts_and_names_the_tokens_it_lacks(
    settings: LazySettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_of_kind("llama", vocab_size=40).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    settings.LLM_MODEL = str(tmp_path)
    settings.LLM_THREADS = 1
    runtime.start()
    wait_for(State.READY)
    assert "217 tokens for which the model's embedding has no row" in caplog.text


def test_a_model_that_cannot_be_had_is_told_to_the_caller(
    settings: LazySettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.LLM_MODEL = "/no/such/folder"
    failed = threading.Event()
    runtime.start(on_failure=failed.set)
    assert failed.wait(WAIT_S)
    assert runtime.status().state is State.DEAD
    assert "the folder does not exist" in runtime.status().reason
    assert "/no/such/folder cannot be served" in caplog.text
    with pytest.raises(Unavailable, match="the folder does not exist"):
        runtime.backend()
    with pytest.raises(ModelUnavailable, match="the folder does not exist"):
        runtime.check_model()


def test_a_model_that_cannot_be_read_is_named(settings: LazySettings, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    (folder / "config.json").write_text("{")
    settings.LLM_MODEL = str(folder)
    runtime.start()
    wait_for(State.DEAD)
    assert f"The model in {folder} cannot be read" in runtime.status().reason
    assert "Traceback" not in runtime.status().reason


def test_cuda_that_is_not_there_ends_the_start_before_the_model_is_looked_for(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings.LLM_MODEL, settings.LLM_DEVICE = "/no/such/folder", "cuda"
    with pytest.raises(ModelUnavailable, match="finds no CUDA here"):
        runtime.check_model()


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("LLM_DTYPE", "bfloat16", "Arithmetic in bfloat16 needs"),
        ("LLM_DTYPE", "int4", "int4 weights need"),
        ("LLM_KV_CACHE_DTYPE", "int8", "LLM_KV_CACHE_DTYPE=int8 needs"),
    ],
)
def test_what_this_machine_cannot_compute_ends_the_start_before_the_model_is_looked_for(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, sentence: str
) -> None:
    monkeypatch.setattr(kernels, "load", lambda: None)
    settings.LLM_MODEL = "/no/such/folder"
    setattr(settings, setting, value)
    with pytest.raises(ModelUnavailable, match=sentence):
        runtime.check_model()


def test_a_dead_engine_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine()
    runtime.install(engine)
    assert runtime.status().state is State.READY
    monkeypatch.setattr(engine._scheduler, "admit", lambda now: 1 / 0)
    with pytest.raises(Unavailable):
        engine.submit(engine.prepare(request())).result()
    engine._thread.join(WAIT_S)
    assert runtime.status().state is State.DEAD
    with pytest.raises(Unavailable, match="restart"):
        runtime.backend()


@pytest.mark.parametrize("end", [runtime.drain, runtime.stop])
def test_a_draining_worker_takes_no_more(end: Callable[[], None]) -> None:
    runtime.install(tiny_engine())
    engine = runtime.backend()
    running = engine.submit(engine.prepare(request()))
    end()
    with pytest.raises(Unavailable):
        runtime.backend()
    with pytest.raises(Unavailable):
        engine.submit(engine.prepare(request()))
    if end is runtime.drain:
        assert runtime.status().state is State.DRAINING
        assert running.result().completion_tokens == 200
    else:
        assert running.done
        assert not engine.alive


def test_a_worker_told_to_end_while_it_loads_never_becomes_ready(
    settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, go_on = [], threading.Event()

    def load_engine(*_: object, **__: object) -> object:
        go_on.wait(WAIT_S)
        loaded.append(tiny_engine())
        return loaded[0]

    monkeypatch.setattr("inference.engine.loader.load_engine", load_engine)
    settings.LLM_MODEL = str(save_tiny_model(tmp_path))
    runtime.start()
    runtime.drain()
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "load":
            thread.join(WAIT_S)
    assert runtime.status().state is State.DRAINING
    assert not loaded[0].alive


def test_a_load_that_fails_because_the_process_ends_is_not_a_failure_of_the_model(
    settings: LazySettings, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter's shutdown takes its threads from the loading, which then fails in any way."""
    may_fail, failed = threading.Event(), threading.Event()

    def load(*args: object, **kwargs: object) -> None:
        may_fail.wait(WAIT_S)
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr("inference.engine.loader.load_engine", load)
    settings.LLM_MODEL = str(save_tiny_model(tmp_path))
    runtime.start(on_failure=failed.set)
    (loading,) = (thread for thread in threading.enumerate() if thread.name == "load")
    runtime.drain()
    may_fail.set()
    loading.join(WAIT_S)

    assert not failed.is_set()
    assert runtime.status().state is State.DRAINING
    assert "cannot schedule" not in caplog.text


@pytest.mark.slow
def test_what_compiles_grammars_is_there_before_the_first_of_them(
    settings: LazySettings, tmp_path: Path
) -> None:
    settings.LLM_MODEL = str(save_tiny_model(tmp_path / "tiny"))
    settings.LLM_THREADS = 1
    runtime.start()
    wait_for(State.READY)
    loading = next((thread for thread in threading.enumerate() if thread.name == "load"), None)
    if loading is not None:
        loading.join(WAIT_S)
    engine = runtime.backend()
    assert isinstance(engine, Engine)
    process = engine.grammars._trial._process
    assert process is not None
    assert process.poll() is None
    engine.prepare(replace(request(), grammar=Grammar("regex", "[ab]", "regex")))
    assert engine.grammars._trial._process is process
    runtime.stop()
    assert process.poll() is not None


def test_a_worker_told_to_end_does_not_wait_for_another_that_packs_the_weights(
    settings: LazySettings, tmp_path: Path
) -> None:
    settings.LLM_MODEL = str(save_tiny_model(tmp_path / "my-tiny"))
    settings.LLM_THREADS = 1
    settings.PACKED_WEIGHTS_DIR = tmp_path / "weights"
    settings.PACKED_WEIGHTS_DIR.mkdir()
    with (settings.PACKED_WEIGHTS_DIR / "lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        runtime.start()
        [loading] = [thread for thread in threading.enumerate() if thread.name == "load"]
        runtime.drain()
        loading.join(WAIT_S)
        assert not loading.is_alive()
