"""Each benchmark runs to its end at a small size; no test asserts a speed."""

import json
import math
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import (
    attention,
    contenders,
    memory,
    plot,
    precisions,
    prefill,
    process_memory,
    step_profile,
    throughput,
)
from benchmarks.contender_process import ContenderProcess
from benchmarks.contenders import SERVED, entries, service
from benchmarks.gpt2_medium import VOCABULARY_SIZE, invented_vocabulary
from benchmarks.http.load import percentiles
from benchmarks.limit import ModelSize
from benchmarks.machine import Power
from benchmarks.structured import step_cost
from benchmarks.throughput_table import Load, Round, table
from benchmarks.workload import Timing, Workload
from inference.engine.compute.path import choose_path
from inference.engine.config import WeightDtype
from inference.engine.native import kernels
from tests.models import END_OF_TEXT, byte_tokenizer, path_or_skip, save_tiny_model
from tests.native_sources import needs_compiler

needs_kernels = pytest.mark.skipif(
    kernels.load() is None, reason="only native kernels compute compiled models"
)

GPT2_MEDIUM = {"n_embd": 1024, "n_layer": 24, "n_head": 16, "vocab_size": VOCABULARY_SIZE}


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def gpt2_medium_size(tmp_path: Path) -> ModelSize:
    (tmp_path / "config.json").write_text(json.dumps(GPT2_MEDIUM))
    return ModelSize.of_folder(tmp_path)


@pytest.mark.slow
def test_throughput_runs_to_its_end_without_a_peer_that_is_not_installed(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "BENCH_DIR", tmp_path / "no-venv")
    out = tmp_path / "throughput.json"
    options = ["--only", "stock", "service", "openvino", "--peers", "openvino", "--precisions", "float32"]
    options += ["--requests", "1", "3", "--contexts", "4", "--rounds", "2"]
    throughput.main(["--model", str(tiny_model), "--threads", "1", "--out", str(out), *options])

    result = json.loads(out.read_text())
    assert len(result["rounds"]) == 2
    for measured in result["rounds"]:
        for name in ("transformers float32", "llmservice float32"):
            assert set(measured["tokens_per_s"][name]) == {"1 at context 4", "3 at context 4"}
    assert result["machine"]["cpu"]
    assert result["versions"]["torch"]
    captured = capsys.readouterr()
    assert "llmservice float32 : transformers float32" in captured.out
    assert "llmservice float32 : limit" in captured.out
    assert "OpenVINO GenAI float32 is left out" in captured.err
    assert "OpenVINO" not in captured.out


def test_throughput_does_not_begin_where_memory_is_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    monkeypatch.setattr(throughput, "available_bytes", lambda: 3999)
    with ExitStack() as stack, pytest.raises(SystemExit, match="Measure fewer contenders"):
        throughput.start([contenders.SERVED[0]], tmp_path, threads=1, stack=stack)


@pytest.mark.slow
def test_throughput_reports_the_path_of_each_contender_and_a_load_that_one_cannot_run_as_a_dash(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "throughput.json"
    most = service._MAX_RUNNING
    options = ["--only", "service", "--requests", "1", str(most + 1), "--contexts", "4", "--rounds", "1"]
    options += ["--precisions", "auto", "float32", "int8-kv8"]
    throughput.main(["--model", str(tiny_model), "--threads", "1", "--out", str(out), *options])

    result = json.loads(out.read_text())
    path = result["paths"]["llmservice float32"]
    assert path == choose_path(device="auto", dtype="auto").description
    captured = capsys.readouterr()
    assert f"llmservice float32: {path}" in captured.err
    assert "llmservice auto : llmservice float32" in captured.out
    assert f"llmservice float32 cannot run {most + 1} at context 4" in captured.err
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in captured.out.splitlines() if line]
    generated, prompts = [row[1:] for row in rows if row[0] == "llmservice float32"]
    for figures in (generated, prompts):
        assert float(figures[0]) > 0
        assert figures[1] == "-"


@pytest.mark.slow
def test_ctranslate2_is_a_peer(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ctranslate2")
    tokenizer = byte_tokenizer()
    tokenizer.unk_token = END_OF_TEXT  # which CTranslate2 wants to know
    tokenizer.save_pretrained(tiny_model)
    out = tmp_path / "throughput.json"
    options = ["--only", "ct2", "--requests", "2", "--contexts", "4", "--rounds", "1"]
    throughput.main(["--model", str(tiny_model), "--threads", "1", "--out", str(out), *options])
    assert "CTranslate2 float32" in capsys.readouterr().out
    assert set(json.loads(out.read_text())["rounds"][0]["tokens_per_s"]) == {
        "CTranslate2 float32",
        "CTranslate2 int8",
    }


@pytest.mark.slow
def test_prefill_runs_to_its_end(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "prefill.json"
    options = ["--precision", "float32", "--prompt", "20", "--long-prompt", "100", "--streams", "3"]
    prefill.main(["--model", str(tiny_model), "--threads", "1", "--rounds", "1", "--out", str(out), *options])
    figures = json.loads(out.read_text())["float32"]
    assert figures["prefill_s"][0] > 0
    assert figures["longest_gap_steps"][0] > 0


@pytest.mark.slow
@needs_compiler
def test_attention_runs_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    attention.main(["--prompt", "20", "--requests", "2", "--context", "20", "--rounds", "1"])
    assert "2 at context 20, float16" in capsys.readouterr().out


@pytest.mark.slow
def test_memory_runs_to_its_end(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "memory.json"
    options = ["--precisions", "float32", "--requests", "2", "--contexts", "16"]
    memory.main(["--model", str(tiny_model), "--threads", "1", "--out", str(out), *options])
    figures = json.loads(out.read_text())["bytes"]["llmservice float32"]
    assert figures["peak_loading"] >= figures["idle"] > 0
    assert figures["running_16"] > 0


@needs_kernels
@pytest.mark.slow
@pytest.mark.parametrize("entry", [SERVED[0], contenders.OWN_TYPE], ids=lambda entry: entry.module)
def test_the_engine_is_measured_as_it_is_served_without_pytorch_from_the_second_start_on(
    tiny_model: Path, entry: contenders.Entry
) -> None:
    with_pytorch = []
    for _ in range(2):
        with ContenderProcess(entry, tiny_model, threads=1) as contender:
            contender.wait_ready()
            contender.run(Workload(requests=2, prompt_tokens=4, new_tokens=3))
            mapped = Path(f"/proc/{contender.process.pid}/maps").read_text()
        with_pytorch.append("libtorch" in mapped)
        assert contender.versions["torch"]
    assert with_pytorch == [True, False]


def test_only_the_entries_of_this_project_are_its_own() -> None:
    ours = {entry.module for entry in [*entries(list(contenders.OPTIONAL)), *SERVED] if entry.ours}
    assert ours == {"service", "served"}


@pytest.mark.parametrize("described", [{"vocab_size": 7}, {"text_config": {"vocab_size": 7}}])
def test_the_vocabulary_is_that_of_text(described: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert service._vocabulary(tmp_path) == 7


def test_what_a_process_has_at_the_end_counts_for_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = iter([100, 300])  # at first and at the end: there is no time for a sample between
    monkeypatch.setattr(process_memory, "_EVERY_S", 0.5)
    monkeypatch.setattr(process_memory.PeakMemory, "now_bytes", lambda _: next(totals))
    with process_memory.PeakMemory(0) as watched:
        while watched.peak_bytes == 0:
            time.sleep(0.001)
    assert watched.peak_bytes == 300


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["auto", "int8", "int4"])
def test_step_profile_names_the_operators(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dtype: WeightDtype
) -> None:
    path_or_skip(dtype)
    folder = save_tiny_model(tmp_path, dtype=dtype)
    options = ["--requests", "2", "--context", "4", "--threads", "1", "--dtype", dtype]
    step_profile.main(["--model", str(folder), *options])
    compiled = capsys.readouterr().out
    step_profile.main(["--model", str(folder), *options, "--one-by-one"])
    one_by_one = capsys.readouterr().out
    for printed in (compiled, one_by_one):
        assert "native::attention" in printed or "scaled_dot_product" in printed
        assert "linear" in printed
    native = kernels.load() is not None
    assert [part in compiled for part in ("numpy::CompiledPass.forward", "numpy::Tiles.init")] == [native] * 2
    assert "CompiledPass" not in one_by_one


@pytest.mark.slow
def test_precisions_runs_to_its_end(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--requests", "1", "2", "--context", "4", "--rounds", "1"]
    precisions.main(["--model", str(tiny_model), "--precisions", "float32", "auto", *sizes])
    rows = [line for line in capsys.readouterr().out.splitlines() if " ms, " in line]
    assert [row.split("|")[1].strip() for row in rows] == ["float32", "auto"]


def test_step_cost_tells_texts_with_a_schema_from_those_without(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--requests", "2", "--tokens", "6", "--rounds", "1"]
    step_cost.main(["--model", str(tiny_model), *size, "--schemas", "no schema", "values", "--parts"])
    _, free, parts, held, held_parts = capsys.readouterr().out.splitlines()
    assert ("no schema:" in free, "values:" in held) == (True, True)
    assert ("masks" in parts, "masks" in held_parts) == (False, True)


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    answered = {"tokens_per_s": 40.0, "answer_s_p50": 0.5, "answer_s_p95": 0.7}
    result = {
        "services": {
            "llmservice": {"1": [answered], "4": [answered, answered]},
            "thread pool": {"1": [answered], "4": [answered]},
            "engine, no HTTP": {"1": [{"tokens_per_s": 41.0}], "4": [{"tokens_per_s": 50.0}]},
        },
        "machine": {"cpu": "a CPU"}, "precision": "float32", "threads": 2, "new_tokens": 24,
    }  # fmt: skip
    (tmp_path / "http.json").write_text(json.dumps(result))
    plot.main(["--result", str(tmp_path / "http.json"), "--out", str(tmp_path / "http.png")])
    assert (tmp_path / "http.png").read_bytes().startswith(b"\x89PNG")


def test_the_invented_vocabulary_has_gpt2s_size_and_every_merge_makes_a_token() -> None:
    tokens, merges = invented_vocabulary()
    assert len(tokens) == VOCABULARY_SIZE
    assert sorted(tokens.values()) == list(range(VOCABULARY_SIZE))
    assert all(left + right in tokens for left, right in merges)


def test_decode_speed_leaves_the_prompt_out() -> None:
    workload = Workload(requests=4, prompt_tokens=8, new_tokens=3)
    timing = Timing.of_steps(workload, began=10.0, ends=[15.0, 15.5, 16.0])
    assert timing.prefill_s == 5.0
    assert timing.decode_rate == pytest.approx(8.0)


def test_the_limit_is_memory_for_one_request_and_arithmetic_for_many(gpt2_medium_size: ModelSize) -> None:
    slow_memory = Power(bytes_per_s=30e9, flops_per_s=1e15)
    rate = gpt2_medium_size.decode_rate(slow_memory, requests=1, context=0)
    assert rate == pytest.approx(30e9 / (4 * gpt2_medium_size.weights))
    assert gpt2_medium_size.decode_rate(slow_memory, requests=16, context=0) == pytest.approx(16 * rate)
    slow_cpu = Power(bytes_per_s=1e15, flops_per_s=122e9)
    assert gpt2_medium_size.decode_rate(slow_cpu, requests=16, context=0) == pytest.approx(
        122e9 / (2 * gpt2_medium_size.weights)
    )
    assert gpt2_medium_size.decode_rate(slow_memory, requests=16, context=200) < 16 * rate


def test_gpt2_medium_is_as_large_as_it_is_known_to_be(gpt2_medium_size: ModelSize) -> None:
    # 354.8 million parameters, of which positions, biases and norms are no matrices to multiply with.
    assert gpt2_medium_size.weights == pytest.approx(353.5e6, rel=1e-3)
    assert 4 * gpt2_medium_size.kv_per_token == 192 * 1024


def test_a_ratio_is_of_the_same_round(gpt2_medium_size: ModelSize) -> None:
    load = Load(requests=1, context=8)
    rounds = [
        Round(
            power=Power(bytes_per_s=30e9, flops_per_s=100e9),
            rates={"transformers float32": {load: rate}, "llmservice float32": {load: 2 * rate}},
            prefill_s={"transformers float32": {load: 0.5}, "llmservice float32": {load: 0.25}},
        )
        for rate in (4.0, 10.0, 5.0)
    ]
    lines = table(rounds, [load], gpt2_medium_size).splitlines()
    (ratio,) = [line for line in lines if line.startswith("| llmservice float32 : transformers")]
    assert "2 ±0%" in ratio
    stock, prompts = [line for line in lines if line.startswith("| transformers float32")]
    assert "5 ±60%" in stock
    assert "16 ±0%" in prompts


def test_percentiles() -> None:
    found = percentiles("answer_s", [float(n) for n in range(101)])
    assert found == {"answer_s_p50": 50.0, "answer_s_p95": 95.0, "answer_s_p99": 99.0}
    assert percentiles("answer_s", []) == {}
    assert math.isclose(percentiles("answer_s", [2.0])["answer_s_p99"], 2.0)


def test_optional_peers_come_before_the_service_itself() -> None:
    names = [entry.name for entry in entries(["openvino"])]
    first = names.index("llmservice auto")
    assert names.index("OpenVINO GenAI float32") < first
    assert all(name.startswith("llmservice ") for name in names[first:])
