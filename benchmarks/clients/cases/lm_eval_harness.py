"""lm-evaluation-harness: `local-completions` gives the numbers of its own `hf` model on the same weights."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from benchmarks.clients.client import Client, Served, ensure
from benchmarks.clients.documented import run_documented

client = Client("lm-eval", package="lm_eval")

TASKS = Path(__file__).resolve().parent.parent / "tasks"
TOLERANCE = 1e-4
CONCURRENT = 4


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model answered to each request, in order.

    Attributes:
        likelihoods: the log-likelihood of each given answer, and whether it is the greedy one.
        texts: greedy texts.
        perplexity: per word, of whole texts.
    """

    likelihoods: list[tuple[float, bool]]
    texts: list[str]
    perplexity: float


@cache
def reference(served: Served) -> Answers:
    """The answers of the harness's own model, in float32."""
    return answers("hf", {"pretrained": str(served.folder), "dtype": "float32"})


@client.check
def token_ids(served: Served) -> str:
    """Log-likelihoods, is_greedy, texts and perplexity with tokenized_requests=True: those of its hf model"""
    return _compare(reference(served), _from_service(served, tokenized_requests=True, num_concurrent=1))


@client.check
def text(served: Served) -> str:
    """The same with tokenized_requests=False and 4 requests at a time"""
    return _compare(
        reference(served), _from_service(served, tokenized_requests=False, num_concurrent=CONCURRENT)
    )


@client.check
def documented(served: Served) -> None:
    """The command in docs/api.md, with a task that needs no model hub"""
    task = {"--tasks lambada_openai": f"--tasks clients_choice --include_path {TASKS}"}
    run_documented(served, "sh", containing="lm_eval", instead=task)


def answers(model: str, options: dict[str, Any]) -> Answers:
    """Run the tasks with a model of the harness."""
    names = ["clients_choice", "clients_generate", "clients_perplexity"]
    found: Any = simple_evaluate(
        model=model,
        model_args=options,
        tasks=names,
        task_manager=TaskManager(include_path=str(TASKS), include_defaults=False),
        device="cpu",
        batch_size=1,
        bootstrap_iters=0,
        log_samples=True,
    )
    given = {name: [sample["resps"] for sample in found["samples"][name]] for name in names}
    return Answers(
        likelihoods=[(value, greedy) for resps in given[names[0]] for [(value, greedy)] in resps],
        texts=[text for [[text]] in given[names[1]]],
        perplexity=found["results"][names[2]]["word_perplexity,none"],
    )


def _from_service(served: Served, **how: Any) -> Answers:
    os.environ["OPENAI_API_KEY"] = served.key
    options = {
        "model": served.model,
        "base_url": f"{served.api}/completions",
        "tokenizer": str(served.folder),
    }
    return answers("local-completions", {**options, **how})


def _compare(theirs: Answers, ours: Answers) -> str:
    pairs = list(zip(theirs.likelihoods, ours.likelihoods, strict=True))
    furthest = max(abs(a - b) for (a, _), (b, _) in pairs)
    ensure(furthest <= TOLERANCE, f"log-likelihoods differ by {furthest:.1e}: {pairs}")
    ensure(all(a == b for (_, a), (_, b) in pairs), f"is_greedy differs: {pairs}")
    greedy = sum(is_greedy for _, is_greedy in ours.likelihoods)
    ensure(0 < greedy < len(pairs), f"{greedy} of {len(pairs)} answers are greedy: this compares nothing")
    ensure(theirs.texts == ours.texts, f"texts differ: {theirs.texts} {ours.texts}")
    ratio = ours.perplexity / theirs.perplexity
    ensure(abs(ratio - 1) <= TOLERANCE, f"perplexities {theirs.perplexity} and {ours.perplexity}")
    likelihoods = f"{len(pairs)} log-likelihoods within {furthest:.1e}, {greedy} greedy"
    return f"{likelihoods}; {len(ours.texts)} texts equal"
