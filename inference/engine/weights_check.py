"""Whether the weights that were read are those of the model, and all of them are numbers."""

import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from inference.engine.errors import ModelUnavailable, listed

# Constants that older libraries saved with the weights: the causal mask and its value, rotary frequencies, a
# version. transformers ignores them for some kinds of models, but not for all.
_CONSTANTS = re.compile(r"\b(attn|attention)\.(masked_)?bias$|\brotary_emb\.inv_freq$|\bversion$")


def check_weights(model: PreTrainedModel, loading_info: Mapping[str, Any], folder: Path) -> None:
    """Check that the weights are all that the model's configuration asks for, no others, and finite.

    Args:
        loading_info: what `from_pretrained` returns with `output_loading_info`. With
            `ignore_mismatched_sizes` it contains weights of another shape; it never contains tied weights.

    Raises:
        ModelUnavailable: weights are missing, of another shape or not part of the model, or contain NaN or
            infinities; the message names them.
    """
    wrong = [
        _counted("missing", loading_info["missing_keys"]),
        _counted("of another shape", {_with_shapes(*key) for key in loading_info["mismatched_keys"]}),
        _counted(
            "not part of the model",
            {name for name in loading_info["unexpected_keys"] if not _CONSTANTS.search(name)},
        ),
    ]
    if any(wrong):
        raise ModelUnavailable(
            f"The weights in {folder} do not fit its config.json: {'; '.join(filter(None, wrong))}. "
            "Copy all files of one model into the folder."
        )
    broken = _not_finite(model)
    if broken:
        raise ModelUnavailable(
            f"The weights in {folder} contain values that are not finite numbers, in {_listed(broken)}: "
            "copy the files again, or use another checkpoint of the model."
        )


def leave_report_to_check_weights() -> None:
    """Keep transformers' table of the same findings out of the log, unless it says more."""
    logging.getLogger("transformers.modeling_utils").addFilter(_says_more)


def _says_more(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return "LOAD REPORT" not in message or "CONVERSION" in message


def _not_finite(model: PreTrainedModel) -> list[str]:
    """The names of the tensors that contain NaN or an infinity; tied weights have one name."""
    broken, seen = [], set()
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or tensor.numel() == 0 or tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        # A NaN is both, and an infinity one of them; `isfinite` would take twenty times as long.
        least, greatest = torch.aminmax(tensor)
        if not (torch.isfinite(least) and torch.isfinite(greatest)):
            broken.append(name)
    return broken


def _with_shapes(name: str, found: Collection[int], expected: Collection[int]) -> str:
    return f"{name} ({list(found)} instead of {list(expected)})"


def _counted(what: str, names: Collection[str]) -> str:
    return f"{len(names)} {what} ({_listed(names)})" if names else ""


def _listed(names: Collection[str]) -> str:
    """The first names, layers in their order."""
    return listed(sorted(names, key=lambda name: re.sub(r"\d+", lambda number: number[0].zfill(6), name)))
