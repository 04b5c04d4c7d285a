"""From a folder of model files to a running, warmed-up engine."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from inference.engine.compute.path import ComputePath, choose_path
from inference.engine.compute.prepare import prepare
from inference.engine.config import EngineConfig, usable_cpus
from inference.engine.engine import Engine
from inference.engine.errors import ModelUnavailable
from inference.engine.fingerprint import fingerprint, sources_digest
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.tokenizer import HuggingFaceTokenizer
from inference.engine.weights_check import check_weights, leave_report_to_check_weights

logger = logging.getLogger(__name__)

_WARM_UP_TOKENS = 40


def load_engine(folder: Path, *, name: str, config: EngineConfig) -> Engine:
    """Load the model of `folder`, start its engine and let it generate once; the log reports the progress.

    Raises:
        ModelUnavailable: the files cannot be read, the engine cannot run this kind of model, or it cannot on
            the device that `config` asks for.
    """
    # In a thread that ends, because a thread that has computed keeps its OpenMP threads. If these and the
    # engine's outnumber the CPUs, OpenMP lets all of them sleep between operators (steps took 21 ms, not 12).
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="load") as thread:
        return thread.submit(_load_engine, folder, name=name, config=config).result()


def _load_engine(folder: Path, *, name: str, config: EngineConfig) -> Engine:
    began = time.monotonic()
    threads = config.threads or usable_cpus()
    torch.set_num_threads(threads)
    path = choose_path(device=config.device, quantization=config.quantization)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
    logger.info("Loading %s (%.0f MB) ...", name, size)
    transformers_logging.disable_progress_bar()
    leave_report_to_check_weights()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        read: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_weights reports them by name
        )
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelUnavailable(f"The model in {folder} cannot be read: {reason}") from error
    model: PreTrainedModel
    model, loading_info = read
    check_weights(model, loading_info, folder)
    eos_ids = _eos_ids(model)
    logger.info("Preparing the weights ...")
    language_model = prepare(model, name=name, config=config, path=path)
    engine = Engine(
        language_model,
        HuggingFaceTokenizer(tokenizer, rows=language_model.vocabulary_size),
        config,
        eos_ids=eos_ids,
        # One that promises the same text, which such a model does not give.
        fingerprint=fingerprint(folder, _arithmetic(path, language_model.cache.dtype))
        if language_model.reproducible
        else None,
        weight_format=path.weight_format.name,
        compute_path=path.description,
    )
    engine.start()
    logger.info("Warming up ...")
    _warm_up(engine, vocabulary_size=language_model.vocabulary_size)
    logger.info(
        "%s is ready after %.1f s, %s. CPU threads: %d. Context: %d tokens. KV cache: %d tokens in %s. Texts "
        "independent of the load: %s.",
        name,
        time.monotonic() - began,
        path.description,
        threads,
        engine.context_length,
        language_model.cache.tokens,
        str(language_model.cache.dtype).removeprefix("torch."),
        "yes" if language_model.reproducible else "no",
    )
    return engine


def _eos_ids(model: PreTrainedModel) -> set[int]:
    """The tokens that end a text, as transformers' `generate` determines them."""
    declared = model.generation_config.eos_token_id if model.generation_config else None
    if declared is None:
        declared = model.config.get_text_config().eos_token_id
    return set(declared) if isinstance(declared, list) else {declared} - {None}


def _arithmetic(path: ComputePath, kv_cache_dtype: torch.dtype) -> list[str]:
    """What decides the bits of a result beside the model's files."""
    return [
        path.description,
        # The native kernels compute the same on any number of threads; PyTorch's operators need not.
        "" if path.layers.native else str(torch.get_num_threads()),
        str(kv_cache_dtype),
        torch.backends.cpu.get_cpu_capability(),
        *(module.__version__ for module in (torch, transformers, np)),
        sources_digest(Path(__file__).parent),
    ]


def _warm_up(engine: Engine, *, vocabulary_size: int) -> None:
    """Prefill and decode once, so that no client waits for what the first call sets up."""
    length = max(1, min(_WARM_UP_TOKENS, engine.context_length // 2))
    request = GenerationRequest(
        prompt=tuple(i % vocabulary_size for i in range(1, length + 1)),
        max_new_tokens=max(1, min(3, engine.context_length - length)),
        sampling=SamplingParams(),
    )
    engine.submit(engine.prepare(request)).result()
