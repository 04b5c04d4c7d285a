"""gunicorn's configuration: `gunicorn -c llmservice/gunicorn.conf.py` in the repository's root.

The master process does not load the Django project: `manage.py preflight` checks whether the start can
succeed, before a command becomes the server or in a process of its own. So a reload gives workers fresh code.
The master does import what loads the model: its workers share the memory of that, and one that is replaced is
ready sooner.
"""

import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from types import FrameType

from django.core.exceptions import ImproperlyConfigured
from gunicorn.arbiter import Arbiter

from inference.collector import paused_collector
from inference.engine.compute.packed.files import has_compiled_model
from llmservice import logs, readiness
from llmservice.arbiter import RollingArbiter
from llmservice.environment import BASE_DIR, PREFLIGHT_PASSED, Environment
from llmservice.server.connection import LINGER_S
from llmservice.server.worker import Worker
from llmservice.start_signals import end_on_signals

try:
    environment = Environment.read(os.environ)
except ImproperlyConfigured as error:
    sys.exit(str(error))

# Without the native kernels, PyTorch computes with OpenMP threads, which wait for each other by spinning, for
# milliseconds by default. On shared cores that made a step of the engine up to ten times as long, and the
# process's own HTTP threads already share the cores. A short wait costs little on idle cores. The worker
# reads the variable when it loads torch.
os.environ.setdefault("GOMP_SPINCOUNT", "30000")

chdir = str(BASE_DIR)
wsgi_app = "llmservice.wsgi:application"
host = f"[{environment.host}]" if ":" in environment.host else environment.host
bind = f"{host}:{environment.port}"
worker_class = "llmservice.server.worker.Worker"
workers = environment.web_concurrency
# Every running or waiting request occupies a thread. The spare ones serve the admin; probes have their own.
threads = environment.llm_max_running + environment.llm_max_queued + 8
# Of these, slow and idle ones give way to new ones. The worker takes fewer if it may open fewer descriptors.
worker_connections = 8192
# Loading the model does not block the worker's main loop, which keeps sending heartbeats to the master.
timeout = 60
# At a shutdown, running requests are answered, at the latest at their deadline.
graceful_timeout = math.ceil(environment.llm_request_timeout_s) + 10
# Longer than a proxy keeps idle connections (60 s), so that a proxy never uses one that is already closed.
keepalive = 65
control_socket_disable = True

logconfig_dict = logs.configuration(environment.log_format)
# `llmservice.proxies` decides whose headers are trusted.
forwarded_allow_ips = ""


def on_starting(server: Arbiter) -> None:
    """Import what all workers share, and end the start, with one sentence, if none of them could serve."""
    RollingArbiter.adopt(server)
    end_on_signals()
    preflight = None
    if os.environ.pop(PREFLIGHT_PASSED, "") != str(os.getpid()):
        preflight = subprocess.Popen([sys.executable, "manage.py", "preflight"], cwd=BASE_DIR)
    try:
        missing = None if environment.llm_backend == "upstream" else import_libraries()
        if preflight is not None and preflight.wait():
            sys.exit(preflight.returncode)
    finally:
        if preflight is not None:
            preflight.terminate()  # a signal has ended the start
    if missing is not None:
        sys.exit(
            f"The packages that compute models cannot be imported ({missing}): install requirements/cpu.txt "
            "and requirements/lock/base.txt, or set LLM_BACKEND=upstream to serve in front of another engine."
        )


def import_libraries() -> str | None:
    """Import what loads the model, and return what is wrong with it, if anything.

    PyTorch takes seconds and 0.2 GB, and an earlier start may have left a compiled model, which needs none.
    Nothing is computed: OpenMP's threads do not survive a fork.
    """
    with paused_collector():
        try:
            import numpy as np  # noqa: F401
            from transformers.tokenization_utils_tokenizers import TokenizersBackend  # noqa: F401

            folder = environment.packed_weights_dir
            if folder is None or not has_compiled_model(folder):
                import torch  # noqa: F401
                from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel  # noqa: F401
        except (ImportError, OSError) as error:  # OSError: a shared library cannot be loaded
            return str(error).partition("\n")[0]
    return None


def when_ready(server: Arbiter) -> None:
    """Create this start's folder for the workers' metrics; a start that fails earlier leaves no folder."""
    # prometheus_client reads the variable on import, so it must not be imported earlier.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="llmservice-metrics-")


def post_worker_init(worker: Worker) -> None:
    """Start to load the worker's model, and drain the worker on SIGTERM."""
    from accounts.limits import settler, tally
    from inference import runtime
    from llmservice import database_limits, database_watch, metrics, tracing

    # The engine's thread waits for Python's lock a few times in each step. With Python's own 5 ms, each wait
    # could take as long as the step of a small model, and so could that of a request among many.
    sys.setswitchinterval(0.0005)
    tracing.start(os.environ)
    database_limits.apply()
    database_watch.start()
    accounts_folder = environment.var_dir / "settlements"
    settler.start(accounts_folder)
    tally.start(accounts_folder)
    # A model that cannot be loaded ends the service: it would fail in another worker as well.
    runtime.start(on_failure=lambda: os._exit(Arbiter.WORKER_BOOT_ERROR))
    readiness.ask(lambda: runtime.status().state is runtime.State.READY)
    metrics.start_observing()
    end_worker = signal.getsignal(signal.SIGTERM)

    def drain() -> None:
        # A worker that is replaced does not refuse the next request of a client that has kept its connection:
        # it answers, and closes the connection.
        if readiness.WORKERS.any_other_is_ready():
            time.sleep(LINGER_S)
        runtime.drain()

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        # In a thread, because a signal handler may interrupt code that holds a lock.
        threading.Thread(target=drain, name="drain", daemon=True).start()
        if callable(end_worker):
            end_worker(number, frame)

    signal.signal(signal.SIGTERM, on_sigterm)


def worker_exit(server: Arbiter, worker: Worker) -> None:
    """Stop the worker's engine; requests that still wait for it are answered."""
    if worker.pid != os.getpid():  # the master calls this as well, for a worker that has exited
        return
    from inference import runtime
    from llmservice import tracing

    runtime.stop()
    tracing.stop()


def child_exit(server: Arbiter, worker: Worker) -> None:
    """In the master: remove the gauges of a worker that has exited."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Arbiter) -> None:
    """Remove the folder of the metrics."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
