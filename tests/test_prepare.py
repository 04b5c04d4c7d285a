"""What a model goes through before it runs, and what is said when it cannot be served."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel

from inference.engine.compute.model_limits import context_length
from inference.engine.compute.path import cpu_path, stock_path
from inference.engine.config import EngineConfig, KVCacheDtype
from inference.engine.errors import ModelUnavailable
from inference.engine.native import kernels as native
from inference.engine.segment import Segment
from tests.models import CONTEXT_LENGTH, prepare, prepared, tiny_gpt2, tiny_llama, tiny_of_kind
from tests.test_layer_program import is_recorded


def test_a_model_whose_attention_is_not_causal_attention_is_refused() -> None:
    strange = tiny_gpt2()
    for layer in strange.transformer.h:  # type: ignore[union-attr]
        layer.attn.register_forward_hook(lambda module, args, output: (output[0] * calls(module), output[1]))
    with pytest.raises(ModelUnavailable, match=r"^Models of the kind gpt2 cannot be served: .* attention"):
        prepared(strange, kv_cache_tokens=256)


def calls(module: torch.nn.Module) -> int:
    """How often the module has run: makes its result depend on more than its input."""
    module.calls = getattr(module, "calls", 0) + 1  # type: ignore[assignment]
    return int(module.calls)  # type: ignore[arg-type]


def test_a_model_that_knows_no_attention_interface_is_refused() -> None:
    bloom = BloomForCausalLM(BloomConfig(vocab_size=257, hidden_size=64, n_layer=2, n_head=4))
    with pytest.raises(ModelUnavailable, match=r"^Models of the kind bloom cannot be served"):
        prepared(bloom, kv_cache_tokens=256)


def test_a_model_whose_code_fails_with_the_hooks_is_refused_with_the_reason() -> None:
    model = tiny_gpt2()

    def fail(module: torch.nn.Module, args: object) -> None:
        if model.config._attn_implementation != "sdpa":
            raise ValueError("only sdpa is implemented")

    model.transformer.h[1].attn.register_forward_pre_hook(fail)  # type: ignore[index,union-attr]
    with pytest.raises(ModelUnavailable, match=r"kind gpt2 cannot be served: .*only sdpa is implemented"):
        prepared(model, kv_cache_tokens=256)


def test_a_model_that_computes_nan_is_refused() -> None:
    broken = tiny_gpt2()
    with torch.no_grad():
        broken.get_output_embeddings().weight.fill_(torch.nan)
    with pytest.raises(ModelUnavailable, match=r"^Models of the kind gpt2 cannot be served"):
        prepared(broken, kv_cache_tokens=256)


def test_a_device_that_is_too_small_for_the_model_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    model = tiny_gpt2()
    monkeypatch.setattr(model, "to", full)
    with pytest.raises(
        ModelUnavailable, match=r"^The memory of cpu is too small for this model: .* LLM_DEVICE=cpu"
    ):
        prepared(model, kv_cache_tokens=256)


def test_memory_too_small_for_the_cache_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.engine.memory.memory_limit", lambda: 50 * 1024 * 1024)
    with pytest.raises(ModelUnavailable, match=r"too small for this model and a text of 256 tokens"):
        prepare(tiny_gpt2(), name="tiny", config=EngineConfig(), path=cpu_path())


def test_the_cache_is_sized_when_the_weights_have_their_final_form(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_gpt2()
    own_layers: list[int] = []

    def measured() -> int:
        own_layers.append(sum(type(module).__name__ == "Conv1D" for module in model.modules()))
        return 0

    monkeypatch.setattr("inference.engine.memory.anonymous_memory", measured)
    served = prepare(model, name="tiny", config=EngineConfig(max_running=3), path=cpu_path())
    assert own_layers == [0]
    assert served.blocks.count == 3 * CONTEXT_LENGTH // 16
    assert served.blocks.free == served.blocks.count


def test_a_cache_of_one_block_is_enough() -> None:
    assert prepared(tiny_gpt2(), kv_cache_tokens=3).blocks.count == 1


def test_a_model_whose_logits_depend_on_the_batch_is_served_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    leaking = tiny_gpt2()
    leaking.transformer.ln_f.register_forward_hook(lambda module, args, out: out + out.mean(1, True) * 1e-6)  # type: ignore[union-attr]
    assert not prepared(leaking, kv_cache_tokens=1024).reproducible
    assert "can depend on the load" in caplog.text


@pytest.mark.skipif(native.load() is None, reason="the native kernels were not built here")
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_the_layers_are_one_native_call_however_the_cache_rounds(dtype: KVCacheDtype) -> None:
    assert is_recorded(prepared(tiny_llama(), kv_cache_tokens=256, kv_cache_dtype=dtype))


def test_a_cache_in_8_bits_is_refused_where_the_kernels_do_not_compute_attention() -> None:
    stock = stock_path(torch.device("cpu"), name="the CPU")
    with pytest.raises(ModelUnavailable, match=r"^LLM_KV_CACHE_DTYPE=int8 needs .* the native kernels"):
        prepared(tiny_gpt2(), kv_cache_tokens=256, kv_cache_dtype="int8", path=stock)


@pytest.mark.parametrize(("kernels", "rows"), [(True, 1), (True, 5), (False, 7), (False, 15), (False, 16)])
def test_a_number_of_rows_that_is_computed_in_another_way_is_found(
    kernels: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr(native, "load", lambda: None)
    special = tiny_gpt2()
    special.transformer.ln_f.register_forward_hook(  # type: ignore[union-attr]
        lambda module, args, out: out + 1e-5 if out.shape[1] == rows else out
    )
    assert not prepared(special, kv_cache_tokens=1024).reproducible


@pytest.mark.parametrize("width", [14, 64, 72])
def test_where_rows_are_said_to_be_independent_they_are_with_pytorchs_operators_too(width: int) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=257, n_positions=128, n_embd=width, n_layer=2, n_head=2)
    model = prepared(
        GPT2LMHeadModel(config).eval(),
        kv_cache_tokens=128,
        path=stock_path(torch.device("cpu"), name="the CPU"),
    )
    ids, blocks = [(7 * i * i + i) % 257 for i in range(48)], [0, 1, 2]
    whole = model.forward([Segment(ids, 0, blocks, len(ids))]).clone()

    def same(rows: int) -> bool:
        model.forward([Segment(ids[:30], 0, blocks)])
        computed = model.forward([Segment(ids[30 : 30 + rows], 30, blocks, rows)])
        return torch.equal(computed, whole[30 : 30 + rows])

    assert not model.reproducible or all(map(same, range(1, 17)))


@pytest.mark.parametrize(
    ("kind", "further"),
    [
        ("phimoe", {"num_local_experts": 4}),
        ("llama4_text", {"num_local_experts": 2, "head_dim": 16, "intermediate_size_mlp": 96}),
    ],
)
def test_a_linear_layer_that_does_more_is_left_to_its_own_code(kind: str, further: dict[str, Any]) -> None:
    """The routers of these mixtures of experts are classes derived from `nn.Linear`."""
    model = tiny_of_kind(kind, **further)
    ids = [(31 * i + 7) % 257 for i in range(100)]
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    served = prepared(model, kv_cache_tokens=128)
    computed = served.forward([Segment(ids, 0, list(range(7)), len(ids))])
    torch.testing.assert_close(computed, expected, rtol=1e-4, atol=1e-4)


def test_a_text_is_no_longer_than_what_every_layer_sees() -> None:
    of_a_kind = {"rope_type": "longrope", "original_max_position_embeddings": 64}
    cases: list[dict[str, Any]] = [
        {"attention_chunk_size": 64},
        {"sliding_window": 64},
        {"rope_parameters": of_a_kind},
        {"rope_parameters": {"full_attention": of_a_kind, "sliding_attention": {"rope_type": "default"}}},
    ]
    for settings in cases:
        text = SimpleNamespace(max_position_embeddings=128, **settings)
        assert context_length(SimpleNamespace(get_text_config=lambda text=text: text)) == 64
