"""Tiny models with random weights, and a byte-level tokenizer, made on the spot."""

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from inference.engine.blocks import BLOCK
from inference.engine.compute.compiled.checked import compiled_and_checked
from inference.engine.compute.compiled.model import CompiledModel
from inference.engine.compute.layer_program.module import NativeLayers
from inference.engine.compute.layer_program.runner import ProgramRunner
from inference.engine.compute.model import LanguageModel
from inference.engine.compute.model_limits import context_length
from inference.engine.compute.path import ComputePath, cpu_path
from inference.engine.compute.prepare import check_hooks, complete
from inference.engine.compute.tied_embedding import replace_weights
from inference.engine.config import EngineConfig, KVCacheDtype, WeightDtype
from inference.engine.engine import Engine
from inference.engine.errors import ModelUnavailable
from inference.engine.kv_cache import KVCache
from inference.engine.kv_cache import kv_cache_dtype as cache_dtype
from inference.engine.memory import bytes_per_token, kv_cache_blocks
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels
from inference.engine.tokenizer import HuggingFaceTokenizer
from tests.shared_trial import SharingEngine

END_OF_TEXT = "<|endoftext|>"
CONTEXT_LENGTH = 256


def byte_tokenizer(special: str = END_OF_TEXT) -> PreTrainedTokenizerFast:
    """One token a byte, as GPT-2 writes bytes, and a special token, the last."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special, bos_token=special)


def compute_on(threads: int) -> None:
    """Have PyTorch and the native kernels compute on this many threads."""
    torch.set_num_threads(threads)
    kernels = native.load()
    if kernels:
        kernels.threads = threads


def tiny_gpt2(seed: int = 0, *, context_length: int = CONTEXT_LENGTH, spread: float = 0.4) -> PreTrainedModel:
    """GPT-2's shape: `Conv1D` layers, learned positions, tied embeddings."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=257, n_positions=context_length, n_embd=64, n_layer=2, n_head=4,
        bos_token_id=256, eos_token_id=256, initializer_range=spread,
    )  # fmt: skip
    model: PreTrainedModel = GPT2LMHeadModel(config)
    model.eval()
    return model


def tiny_llama(
    seed: int = 0, *, context_length: int = CONTEXT_LENGTH, spread: float = 0.3
) -> PreTrainedModel:
    """Llama's shape: rotary positions, grouped queries (three to a key), gated MLP."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=257, max_position_embeddings=context_length, hidden_size=96, intermediate_size=224,
        num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        bos_token_id=256, eos_token_id=256, tie_word_embeddings=True, initializer_range=spread,
    )  # fmt: skip
    model: PreTrainedModel = LlamaForCausalLM(config)
    model.eval()
    return model


def tiny_of_kind(kind: str, **further: Any) -> PreTrainedModel:
    """The shape that transformers calls `kind`, two layers of it; `further` goes into its configuration."""
    torch.manual_seed(0)
    settings = {
        "vocab_size": 257, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0,
        "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    config = AutoConfig.for_model(kind, **settings | further)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    model.eval()
    return model


KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16},
    "phi": {},
    "phi3": {},
    "cohere": {},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
}
"""Kinds whose layers a program can do, with what else goes into their configurations."""

SHAPES = {"gpt2": tiny_gpt2, "llama": tiny_llama}


def spread_for(dtype: str) -> dict[str, Any]:
    """The spread of the weights of a tiny model that this format can serve, as an argument of `SHAPES`.

    With weights as large as the tiny models have them otherwise, attention all but chooses one position, and
    magnifies the errors of 4 bits into noise. Smaller weights have the errors of real models.
    """
    return {"spread": 0.03} if dtype == "int4" else {}


def prepare(model: PreTrainedModel, *, name: str, config: EngineConfig, path: ComputePath) -> LanguageModel:
    """The model, hooked in place, as it serves where it cannot be compiled."""
    hooked = check_hooks(model, path)
    if path.layers.build:
        replace_weights(model, path.layers.build, hooked.input_squares)
    return complete(hooked, name=name, config=config, path=path)


def prepared(
    model: PreTrainedModel,
    *,
    kv_cache_tokens: int,
    kv_cache_dtype: KVCacheDtype = "auto",
    path: ComputePath | None = None,
    name: str = "tiny",
) -> LanguageModel:
    """The model, ready to compute; on the CPU in float32 unless `path` says otherwise."""
    config = EngineConfig(kv_cache_tokens=kv_cache_tokens, kv_cache_dtype=kv_cache_dtype)
    return prepare(model, name=name, config=config, path=path or cpu_path())


def compiled(
    model: PreTrainedModel,
    *,
    kv_cache_tokens: int,
    kv_cache_dtype: KVCacheDtype = "auto",
    path: ComputePath | None = None,
) -> CompiledModel | None:
    """The model as a service computes it, without PyTorch; None if it cannot be compiled."""
    path = path or cpu_path()
    hooked = check_hooks(model, path)
    assert path.layers.build
    replace_weights(model, path.layers.build, hooked.input_squares)
    dtype = cache_dtype(kv_cache_dtype, path.weight_format, native=True)
    found = compiled_and_checked(hooked, path, cache_dtype=dtype)
    if found is None or path.kernels is None:
        return None
    return CompiledModel(
        found[0],
        name="tiny",
        context_length=context_length(model.config),
        cache=KVCache(blocks=kv_cache_tokens // BLOCK, dtype=dtype),
        kernels=path.kernels,
    )


@cache
def _prepared_once(
    shape: str, context_length: int, kernels: Kernels | None
) -> tuple[PreTrainedModel, LanguageModel]:
    """What all engines of this process with the same shape share: the weights, in their final form."""
    model = SHAPES[shape](context_length=context_length)
    return model, prepared(model, name=f"tiny-{shape}", kv_cache_tokens=1)


def _copied(module: nn.Module) -> nn.Module:
    """The same weights with a workspace of their own, so that two engines can compute at a time."""
    twin = copy.copy(module)
    twin._modules = {name: child and _copied(child) for name, child in module._modules.items()}
    if isinstance(twin, NativeLayers):
        twin._runner = ProgramRunner(twin._program, twin._runner._kernels)
    return twin


def tiny_model(shape: str, *, context_length: int, config: EngineConfig) -> LanguageModel:
    """As `prepared` returns it. What all share is prepared once: that takes longer than most tests."""
    model, first = _prepared_once(shape, context_length, native.load())
    cache = first.cache
    blocks = kv_cache_blocks(
        config, token_bytes=bytes_per_token(model.config, cache.dtype), context_length=context_length
    )
    return LanguageModel(
        cast("PreTrainedModel", _copied(model)),
        name=first.name,
        context_length=first.context_length,
        vocabulary_size=first.vocabulary_size,
        cache=KVCache(blocks=blocks, dtype=cache.dtype),
        path=first.path,
        reproducible=first.reproducible,
    )


def tiny_engine(
    config: EngineConfig | None = None,
    *,
    shape: str = "gpt2",
    context_length: int = CONTEXT_LENGTH,
    tokenizer: PreTrainedTokenizerFast | None = None,
    eos_ids: tuple[int, ...] = (),
    start: bool = True,
    forces: bool = True,
    own_trial: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Engine:
    """An engine with a tiny model; the caller stops it, or steps it where it is not started.

    Without a `tokenizer` it has the one of bytes. Without `eos_ids` every text reaches its full length.
    Without `own_trial` its grammars are tried out by a process that others use as well.
    """
    config = replace(config or EngineConfig(kv_cache_tokens=4096), threads=1)
    compute_on(1)  # a second thread only waits, with so small a model
    model = tiny_model(shape, context_length=context_length, config=config)
    tokens = HuggingFaceTokenizer(tokenizer or byte_tokenizer(), rows=model.vocabulary_size)
    engine = (Engine if own_trial else SharingEngine)(
        model,
        tokens,
        config,
        eos_ids=eos_ids,
        forces=forces,
        weight_format=model.path.weight_format.name,
        compute_path=model.path.description,
        clock=clock,
    )
    if start:
        engine.start()
    return engine


def path_or_skip(dtype: WeightDtype) -> ComputePath:
    """The path of a weight format on this CPU; skips the test where it has none."""
    try:
        return cpu_path(dtype)
    except ModelUnavailable as reason:
        pytest.skip(str(reason))


def save_tiny_model(
    folder: Path,
    *,
    shape: str = "gpt2",
    context_length: int = CONTEXT_LENGTH,
    chat_template: str | None = None,
    dtype: str = "auto",
) -> Path:
    """A folder that `LLM_MODEL` can name, with weights that `dtype` can hold."""
    SHAPES[shape](context_length=context_length, **spread_for(dtype)).save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return folder
