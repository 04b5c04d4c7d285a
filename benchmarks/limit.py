"""The upper limit that the machine sets (the roofline model; Williams et al., 2009).

A step cannot be faster than reading its weights, keys and values from memory once, nor than its
multiplications.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.machine import Power

_FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """How much a step of the model reads and computes.

    Attributes:
        weights: elements of the matrices that every token is multiplied with, including the LM head.
        head: elements of the LM head, which a prompt needs for its last token only.
        kv_per_token: elements of the KV cache per token.
        attention_width: sum over the layers of heads times head size.
    """

    weights: int
    head: int
    kv_per_token: int
    attention_width: int

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """The size of a GPT-2 in Hugging Face's format."""
        config = json.loads((folder / "config.json").read_text())
        width, layers = config["n_embd"], config["n_layer"]
        inner = config.get("n_inner") or 4 * width
        head = config["vocab_size"] * width
        return cls(
            weights=layers * (4 * width * width + 2 * width * inner) + head,
            head=head,
            kv_per_token=2 * layers * width,
            attention_width=layers * width,
        )

    def decode_rate(self, power: Power, *, requests: int, context: float) -> float:
        """Generated tokens per second in float32, with `context` tokens per request."""
        size = _FLOAT_BYTES * (self.weights + requests * context * self.kv_per_token)
        flops = requests * (2 * self.weights + 4 * context * self.attention_width)
        return requests / max(size / power.bytes_per_s, flops / power.flops_per_s)

    def prefill_s(self, power: Power, *, tokens: int) -> float:
        """The shortest time of a prompt in float32, in seconds: a token attends to half of it on average."""
        flops = tokens * (2 * (self.weights - self.head) + 2 * tokens * self.attention_width) + 2 * self.head
        return max(flops / power.flops_per_s, _FLOAT_BYTES * self.weights / power.bytes_per_s)
