"""What the page shows: of this worker from memory, and of all workers what the database knows."""

import os
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count
from django.utils import timezone

from accounts.models import APIKey, Reservation
from inference import runtime
from inference.engine.errors import Unavailable
from inference.engine.load import Load, OwnerLoad
from llmservice.now import failures
from llmservice.now.failures import Failure
from llmservice.now.throughput import COMPLETION

IDLE = OwnerLoad(queued=0, running=0)


@dataclass(frozen=True, kw_only=True)
class KeyNow:
    """The requests of a key: those of this worker, and those of all workers and hosts."""

    key_id: int
    name: str
    running: int
    queued: int
    everywhere: int


@dataclass(frozen=True, kw_only=True)
class FailureOfKey:
    """A failure with the name of its key; empty if it has none."""

    failure: Failure
    key_name: str


@dataclass(frozen=True, kw_only=True)
class Now:
    """This worker at this moment; what the model decides is None while it cannot generate."""

    process: int
    workers: int
    state: runtime.State
    reason: str
    model: str | None
    weight_format: str | None
    compute_path: str | None
    load: Load | None
    max_running: int
    max_queued: int
    tokens_per_s: float | None
    keys: list[KeyNow]
    failures: list[FailureOfKey]

    @property
    def kv_percent(self) -> float:
        """How much of the KV cache is in use."""
        return (
            100 * self.load.kv_tokens_used / self.load.kv_tokens if self.load and self.load.kv_tokens else 0.0
        )


def look() -> Now:
    """Look at this worker, and at the reservations in the database."""
    status = runtime.status()
    try:
        backend = runtime.backend()
    except Unavailable:
        backend = None
    load = backend.load if backend else None
    if backend:
        COMPLETION.observe(backend.work.completion_tokens)
    failed = failures.last()
    held = Reservation.objects.filter(deadline__gt=timezone.now())
    everywhere = dict(held.values_list("key_id").annotate(Count("pk")))
    here = {int(owner): one for owner, one in load.owners.items() if owner.isdecimal()} if load else {}
    ids = everywhere.keys() | here.keys() | {one.key_id for one in failed if one.key_id is not None}
    names = dict(APIKey.objects.filter(pk__in=ids).values_list("pk", "name"))
    keys = [
        KeyNow(
            key_id=key_id,
            name=names[key_id],
            running=here.get(key_id, IDLE).running,
            queued=here.get(key_id, IDLE).queued,
            everywhere=everywhere.get(key_id, 0),
        )
        for key_id in (everywhere.keys() | here.keys()) & names.keys()
    ]
    return Now(
        process=os.getpid(),
        workers=settings.WEB_CONCURRENCY,
        state=status.state,
        reason=status.reason,
        model=backend.model_name if backend else None,
        weight_format=backend.weight_format if backend else None,
        compute_path=backend.compute_path if backend else None,
        load=load,
        max_running=settings.LLM_MAX_RUNNING,
        max_queued=settings.LLM_MAX_QUEUED,
        tokens_per_s=COMPLETION.per_s if backend else None,
        keys=sorted(keys, key=lambda key: (-key.running - key.queued, -key.everywhere, key.name)),
        failures=[
            FailureOfKey(failure=failure, key_name=names.get(failure.key_id or 0, "")) for failure in failed
        ],
    )
