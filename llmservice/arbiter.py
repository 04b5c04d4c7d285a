"""gunicorn's master process, whose reload replaces the workers without an interruption.

gunicorn itself ends the old workers as soon as the new ones exist. A model takes seconds to minutes to load,
and nobody would serve meanwhile.
"""

import signal

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from llmservice.readiness import WORKERS
from llmservice.spare_memory import holds_one_more


class RollingArbiter(Arbiter):  # type: ignore[misc]
    """On SIGHUP, replaces one worker after the other, each as soon as its successor can generate."""

    # Workers of this age or a lesser one are to be replaced. The age of a worker is its number.
    _outdated_up_to = 0
    # The ages of those that were told to end; they answer their running requests first.
    _ending: frozenset[int] = frozenset()
    # Whether memory holds one more copy of the model.
    _successor_first = True

    @classmethod
    def adopt(cls, arbiter: Arbiter) -> None:
        """Make gunicorn's arbiter one of this class: gunicorn has no setting for it."""
        arbiter.__class__ = cls

    def reload(self) -> None:
        try:
            self.app.reload()
        except SystemExit:
            self.log.error("The configuration cannot be read, so nothing was reloaded: correct it and retry.")
            return
        self.setup(self.app)
        self.log.reopen_files()
        self.cfg.on_reload(self)
        self._stats["reloads"] += 1
        self._outdated_up_to = self.worker_age
        self._successor_first = holds_one_more(self.WORKERS.keys())
        if self._successor_first:
            self.log.info("Replacing the workers one by one; each serves until its successor can.")
        else:
            self.log.warning(
                "Memory does not hold one more copy of the model, so each worker ends before its successor "
                "loads: with a single worker, requests are answered with 503 meanwhile."
            )
        self.manage_workers()

    def manage_workers(self) -> None:
        workers = sorted(self.WORKERS.values(), key=lambda worker: worker.age)
        current = [worker for worker in workers if worker.age > self._outdated_up_to]
        if len(current) == len(workers):
            super().manage_workers()
            return
        ready = [worker for worker in current if WORKERS.is_ready(worker.age)]
        outdated = [worker for worker in workers if worker not in current and worker.age not in self._ending]
        # Workers still loading from an earlier reload go first: they serve no requests.
        outdated.sort(key=lambda worker: WORKERS.is_ready(worker.age))
        wanted = self.num_workers if self._successor_first else self.num_workers - 1
        if self._successor_first or len(ready) == len(current):
            for worker in outdated[: max(0, len(outdated) + len(ready) - wanted)]:
                self._ending |= {worker.age}
                self.kill_worker(worker.pid, signal.SIGTERM)
        # One at a time, so that memory has to hold one more copy of the model at most.
        has_place = self._successor_first or len(workers) < self.num_workers
        if has_place and len(ready) == len(current) < self.num_workers:
            self.spawn_worker()

    def reap_workers(self) -> None:
        before = dict(self.WORKERS)
        try:
            super().reap_workers()
        except HaltServer:
            if not self._reload_may_fail():
                raise
            for pid in before.keys() - self.WORKERS.keys():
                before[pid].tmp.close()
                self.cfg.child_exit(self, before[pid])
            self._outdated_up_to = 0
            self.log.error("The reload has failed, for the reason above: the old workers keep serving.")

    def _reload_may_fail(self) -> bool:
        """Whether workers are being replaced, and some of those that are left can generate."""
        ages = [worker.age for worker in self.WORKERS.values()]
        replacing = bool(self.LISTENERS) and min(ages, default=self.worker_age) <= self._outdated_up_to
        return replacing and any(map(WORKERS.is_ready, ages))

    def handle_usr2(self) -> None:
        self.log.warning(
            "SIGUSR2 is not supported: send SIGHUP to replace the workers, or restart the service to replace "
            "the master process as well."
        )
