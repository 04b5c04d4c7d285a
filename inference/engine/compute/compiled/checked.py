"""A hooked model as a compiled one that has been compared with it."""

import logging
from typing import Any

import torch

from inference.engine.compute.compiled.model import Compiled, CompiledPass
from inference.engine.compute.compiled.trace import compile_model
from inference.engine.compute.layer_program.recorder import NotRecordable
from inference.engine.compute.layer_program.recording import TRIED_ROWS
from inference.engine.compute.model_limits import context_length
from inference.engine.compute.path import ComputePath
from inference.engine.compute.prepare import HookedModel, check_format, near, warn_of_dependent_rows
from inference.engine.compute.probe import Probe

logger = logging.getLogger(__name__)


def compiled_and_checked(
    hooked: HookedModel, path: ComputePath, *, cache_dtype: Any
) -> tuple[Compiled, bool] | None:
    """The compiled model, and whether a row has the same bits alone and among others.

    Returns:
        None if it cannot be compiled, after a line in the log that says why.

    Raises:
        WrongLogits: with weights in this format, the model computes something else than its own code.
    """
    kernels, model = path.kernels, hooked.model
    if kernels is None or not path.layers.native:
        return None
    # As the engine does later: PyTorch's threads would wait for each other longer than they compute.
    torch.set_num_threads(1)
    # Caches are in float32: a narrower one would magnify the last bits, in which two ways may differ.
    own = Probe(model, path)
    try:
        compiled = compile_model(
            model,
            kernels,
            context_length=context_length(model.config),
            vocabulary_size=hooked.vocabulary_size,
            compute=own.pass_of,
        )
        compute = CompiledPass(compiled, kernels).forward
        probe = Probe(model, path, compute=compute)
        for rows in TRIED_ROWS:
            if not near(probe.pass_of(rows), own.pass_of(rows), path.weight_format.program_tolerance):
                raise NotRecordable("the programs compute something else")
    except NotRecordable as reason:
        logger.info("This kind of model is not compiled as a whole: %s.", reason)
        return None
    check_format(path, probe, hooked.expected)
    reproducible = Probe(model, path, dtype=cache_dtype, compute=compute).rows_are_independent()
    warn_of_dependent_rows(reproducible)
    return compiled, reproducible
