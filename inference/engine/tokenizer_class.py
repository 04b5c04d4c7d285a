"""Loads a tokenizer by its class, without what transformers imports to find that class: PyTorch."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LIBRARY = "transformers."


def class_of(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> str | None:
    """The name of the class that `tokenizer_of` loads the same tokenizer with; None if there is none."""
    kind = type(tokenizer)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if not tokenizer.is_fast or not name.startswith(_LIBRARY):
        return None
    try:
        again = tokenizer_of(folder, name)
    except Exception:  # its files alone may not be what the class takes: transformers converts some of them
        return None
    return name if _state(again) == _state(tokenizer) else None


def tokenizer_of(folder: Path, name: str) -> "PreTrainedTokenizerBase":
    """The tokenizer in `folder`, by the name of its class.

    Raises:
        Exception: whatever transformers raises for files that it cannot read.
    """
    module, _, kind = name.partition(":")
    found: Any = getattr(import_module(module), kind)
    tokenizer: PreTrainedTokenizerBase = found.from_pretrained(folder)
    return tokenizer


def _state(tokenizer: Any) -> tuple[str, str]:
    rest = {name: value for name, value in vars(tokenizer).items() if name != "_tokenizer"}
    return tokenizer.backend_tokenizer.to_str(), repr(sorted(rest.items()))
