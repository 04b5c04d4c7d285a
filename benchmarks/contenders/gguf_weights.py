"""A checkpoint's weights as GGUF, without its vocabulary: only token ids go in and out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from benchmarks.workload import NotHere

_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def write_float32(folder: Path, path: Path) -> None:
    """Write the weights of a GPT-2 or a Llama in float32.

    Raises:
        NotHere: it is a model of another kind.
    """
    import gguf

    config = json.loads((folder / "config.json").read_text())
    kind = config["model_type"]
    if kind not in ("gpt2", "llama"):
        raise NotHere(f"no GGUF is written for a {kind} model.")
    writer = gguf.GGUFWriter(path, kind)
    layers = _describe_gpt2(writer, config) if kind == "gpt2" else _describe_llama(writer, config)
    writer.add_block_count(layers)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(
        gguf.MODEL_ARCH.GPT2 if kind == "gpt2" else gguf.MODEL_ARCH.LLAMA, layers
    )
    tied = config.get("tie_word_embeddings", kind == "gpt2")
    for name, tensor in _tensors(folder):
        if tied and name == "lm_head.weight":
            continue
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:  # a buffer
            continue
        writer.add_tensor(target, _as_llama_cpp_has_it(name, tensor, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe_gpt2(writer: Any, config: dict[str, Any]) -> int:
    """Returns the number of layers."""
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    return int(config["n_layer"])


def _describe_llama(writer: Any, config: dict[str, Any]) -> int:
    """Returns the number of layers."""
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or config
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    return int(config["num_hidden_layers"])


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Name and float32 values; NumPy has no bfloat16, whose bits are the upper half of a float32's."""
    from safetensors import deserialize

    read: Any = deserialize
    for name, stored in read((folder / "model.safetensors").read_bytes()):
        if stored["dtype"] == "BF16":
            values = (numpy.frombuffer(stored["data"], numpy.uint16).astype(numpy.uint32) << 16).view(
                numpy.float32
            )
        elif stored["dtype"] in ("F32", "F16"):
            values = numpy.frombuffer(stored["data"], {"F32": "<f4", "F16": "<f2"}[stored["dtype"]])
        else:
            continue
        yield name.removeprefix("transformer."), values.astype(numpy.float32).reshape(stored["shape"])


def _as_llama_cpp_has_it(name: str, tensor: Any, config: dict[str, Any]) -> Any:
    if config["model_type"] == "gpt2":
        return tensor.T.copy() if name.endswith(_TRANSPOSED) else tensor
    heads = config["num_attention_heads"]
    for part, count in (("q_proj", heads), ("k_proj", config.get("num_key_value_heads", heads))):
        if name.endswith(f"{part}.weight"):
            # llama.cpp rotates neighbouring dimensions, Hugging Face's code those of the two halves.
            halves = tensor.reshape(count, 2, tensor.shape[0] // count // 2, tensor.shape[1])
            return halves.swapaxes(1, 2).reshape(tensor.shape)
    return tensor
