"""gunicorn's configuration: `gunicorn -c llmservice/gunicorn.conf.py` in the repository's root.

The master process imports neither Django nor torch: what must be looked at before any worker starts is looked
at by `manage.py preflight` in a process of its own. A worker so gets fresh code at a reload, and no thread of
OpenMP is there when the master forks.
"""

import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from types import FrameType

from django.core.exceptions import ImproperlyConfigured
from gunicorn.arbiter import Arbiter

from llmservice import logs
from llmservice.environment import BASE_DIR, Environment
from llmservice.worker import Worker

try:
    environment = Environment.read(os.environ)
except ImproperlyConfigured as error:
    sys.exit(str(error))

# Where the native kernels were not built, PyTorch computes on OpenMP's threads. They wait for each other by
# spinning, for milliseconds by default. On cores that are shared, with this process's own HTTP threads to
# begin with, that made a step of the engine up to ten times as long; so short a wait costs little on idle
# cores. Read when torch is loaded, in the worker.
os.environ.setdefault("GOMP_SPINCOUNT", "30000")

chdir = str(BASE_DIR)
wsgi_app = "llmservice.wsgi:application"
host = f"[{environment.host}]" if ":" in environment.host else environment.host
bind = f"{host}:{environment.port}"
worker_class = "llmservice.worker.Worker"
workers = environment.web_concurrency
# Each waiting request holds a thread: a few more, so that /health and the admin always find one.
threads = environment.llm_max_running + environment.llm_max_queued + 8
worker_connections = max(1000, 2 * threads)
# The model is loaded beside the worker's main loop, which so goes on telling the master that it lives.
timeout = 60
# A request that is in when the service is told to end is answered, at the latest at its deadline.
graceful_timeout = math.ceil(environment.llm_request_timeout_s) + 5
# Longer than a proxy keeps idle connections (60 s), so that it is never the one to find them closed.
keepalive = 65
control_socket_disable = True

logconfig_dict = logs.configuration(environment.log_format)
# Whose headers are believed is decided by `llmservice.proxies`.
forwarded_allow_ips = ""


def on_starting(server: Arbiter) -> None:
    """Stop here, with one sentence, where no worker could serve."""
    preflight = subprocess.run([sys.executable, "manage.py", "preflight"], cwd=BASE_DIR, check=False)
    if preflight.returncode:
        sys.exit(preflight.returncode)


def when_ready(server: Arbiter) -> None:
    """Make a folder for the workers' metrics, of this start's own; a start that was refused leaves none."""
    # prometheus_client reads the variable when it is imported, which so has to come later.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="llmservice-metrics-")


def post_worker_init(worker: Worker) -> None:
    """Start the worker's engine, and have it drained when the worker is told to end."""
    from inference import runtime
    from llmservice import metrics

    # A model that cannot be loaded ends the service: another worker would fare no better.
    runtime.start(on_failure=lambda: os._exit(Arbiter.WORKER_BOOT_ERROR))
    metrics.start_observing()
    end_worker = signal.getsignal(signal.SIGTERM)

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        # In a thread: a signal handler interrupts whatever holds a lock.
        threading.Thread(target=runtime.drain, name="drain", daemon=True).start()
        if callable(end_worker):
            end_worker(number, frame)
        # gunicorn leaves them open to the end: who connects now would wait for an answer that never comes.
        worker.set_accept_enabled(False)
        for listener in worker.sockets:
            listener.close()
        worker.sockets = []

    signal.signal(signal.SIGTERM, on_sigterm)


def worker_exit(server: Arbiter, worker: Worker) -> None:
    """Stop the worker's engine; what still waits for it is answered."""
    if worker.pid != os.getpid():  # the master, which tells of a worker that is gone
        return
    from inference import runtime

    runtime.stop()


def child_exit(server: Arbiter, worker: Worker) -> None:
    """In the master: what a worker that is gone was doing counts no more."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Arbiter) -> None:
    """Leave no files behind."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
