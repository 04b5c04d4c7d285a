"""The quick-start model: SmolLM2-135M-Instruct, for a first answer without a model hub.

Its weights come in a Python wheel, as a GGUF file with 4 bits per weight. They are converted to safetensors
once, in float32: the engine computes in float32, so every later start maps the file into memory without a
conversion. (float16 would halve the 540 MB, but every start would have to convert.)
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

NAME = "SmolLM2-135M-Instruct"
REQUIREMENT = Path(__file__).resolve().parent.parent / "requirements" / "quickstart-model.txt"
WORK_PREFIX = ".quickstart-"


class QuickstartUnavailable(Exception):
    """The quick-start model is not available; the text is one sentence that tells the operator what to do."""


def ensure_model(var_dir: Path, say: Callable[[str], None]) -> Path:
    """The folder of the quick-start model in `var_dir`; creates it if it is missing, which takes a minute.

    The folder appears complete or not at all. If several processes call this at the same time, one creates
    the folder and the others wait.

    Args:
        say: receives a line of text at each step.

    Raises:
        QuickstartUnavailable: the wheel cannot be fetched, or `var_dir` cannot be written to.
    """
    models = var_dir / "models"
    folder = models / NAME
    if folder.exists():
        return folder
    try:
        models.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise QuickstartUnavailable(
            f"The folder {models} cannot be created ({error.strerror}): set VAR_DIR to a folder that this "
            "user can write to."
        ) from error
    with FileLock(models / ".lock"):
        if folder.exists():
            return folder
        for left in models.glob(f"{WORK_PREFIX}*"):  # by a killed process: a live one would hold the lock
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=models, prefix=WORK_PREFIX) as work:
            say(f"Fetching {NAME} (93 MB) ...")
            gguf = _fetch(Path(work))
            say("Converting it to safetensors (once, about half a minute) ...")
            made = Path(work) / NAME
            _convert(gguf, made)
            made.rename(folder)
    return folder


def _fetch(work: Path) -> Path:
    """Extract the GGUF file from the wheel, which pip downloads and verifies by its hash."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "download"]
    if not sys.stderr.isatty():  # nobody would see the progress bar
        pip.append("--quiet")
    pip += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(work)]
    done = subprocess.run(  # noqa: S603
        [*pip, "--requirement", str(REQUIREMENT)],
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        why = reasons[-1].removeprefix("ERROR: ") if reasons else f"pip exited with status {done.returncode}"
        raise QuickstartUnavailable(
            f"The quick-start model cannot be fetched ({why}): check that the package index can be reached, "
            "or set LLM_MODEL to a model of your own."
        )
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        gguf = Path(archive.extract(name, work))
    wheel.unlink()
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model in the file `gguf` to `folder`, in the layout of transformers."""
    if not sys.stderr.isatty():
        os.environ["TQDM_DISABLE"] = "1"
    # Imported here: the imports take seconds, and only the first start needs them.
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    del config._model_name_or_path  # the title in the GGUF file
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # `from_pretrained(gguf_file=…)` would do the same, but needs the package accelerate.
    weights = load_gguf_checkpoint(str(gguf), return_tensors=True, model_to_load=model)["tensors"]
    missing, _ = model.load_state_dict(weights, strict=False)
    if missing != ["lm_head.weight"]:  # tied to the embeddings, so the file does not contain it
        raise RuntimeError(f"{gguf.name} has no {', '.join(missing)}")
    model.save_pretrained(folder)

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers gives every byte-level GGUF tokenizer the pre-tokenizer of GPT-2. SmolLM2's splits off each
    # digit first, which makes a difference after white space ("\n\n1").
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
