"""The `llm` command, with the service as one of its models."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.clients.client import Client, Served, ensure

client = Client("llm", package="llm")

QUESTION = "What is the capital of France?"
GREEDY = ("-o", "temperature", "0", "-o", "max_tokens", "16")


@client.check
def prompt(served: Served) -> str:
    """A prompt, streamed and with --no-stream: the same text"""
    streamed, whole = (_llm(served, "-m", "served", *how, QUESTION, *GREEDY) for how in ([], ["--no-stream"]))
    ensure(bool(whole.strip()) and whole == streamed, [whole, streamed])
    return repr(whole.strip())


@client.check
def options(served: Served) -> None:
    """All options of its models, a system prompt, and --usage"""
    sampling = {"temperature": 1.2, "top_p": 0.9, "frequency_penalty": 0.5, "presence_penalty": 0.5}
    more = {"seed": 3, "max_tokens": 8, "stop": "zzz", "logit_bias": json.dumps({"5": -100})}
    pairs = [word for name, value in {**sampling, **more}.items() for word in ("-o", name, str(value))]
    asked = ("-m", "served", "--system", "Answer in one word.", "--usage", QUESTION, *pairs)
    ensure(_llm(served, *asked) == _llm(served, *asked), "another text for the same seed")


@client.check
def chat(served: Served) -> None:
    """A chat of two turns, and a prompt that goes on with it"""
    said = _llm(served, "chat", "-m", "served", *GREEDY, typed="Hello\nAnd now?\nexit\n")
    ensure(said.count("\n> ") == 3, said)
    ensure(bool(_llm(served, "--continue", "-m", "served", "Go on", *GREEDY).strip()), "no text")


@client.check
def completion(served: Served) -> None:
    """A model declared with `completion: true`"""
    asked = ("-m", "served-completion", "The sea", "-o", "seed", "1", "-o", "max_tokens", "8")
    ensure(_llm(served, *asked) == _llm(served, *asked) != "", "another text for the same seed")


@client.check
def errors(served: Served) -> None:
    """A wrong key is told in one line"""
    refused = _run(served, "-m", "served", "--key", "wrong", "a")
    ensure(refused.returncode == 1 and "401 - Invalid API key" in refused.stderr, refused.stderr)


def _llm(served: Served, *arguments: str, typed: str = "") -> str:
    done = _run(served, *arguments, typed=typed)
    ensure(done.returncode == 0, done.stderr)
    return done.stdout


def _run(served: Served, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env={**os.environ, "LLM_USER_PATH": str(_user_folder(served))},
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )


def _user_folder(served: Served) -> Path:
    """A folder with the service among the models."""
    folder = served.scratch / "llm"
    folder.mkdir(exist_ok=True)
    model = {"model_name": served.model, "api_base": served.api, "api_key_name": "served"}
    models = [{**model, "model_id": "served"}, {**model, "model_id": "served-completion", "completion": True}]
    (folder / "extra-openai-models.yaml").write_text(json.dumps(models))  # JSON is YAML
    (folder / "keys.json").write_text(json.dumps({"served": served.key}))
    return folder
