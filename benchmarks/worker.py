"""One contender in a process of its own: `python -m benchmarks.worker MODULE PRECISION FOLDER THREADS`.

Reads workloads, or texts to judge, as lines of JSON and answers each with a line of JSON. Needs only the
contender's packages.
"""

import importlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from benchmarks.workload import CannotRun, Contender, NotHere, Scorer, Workload


def main() -> None:
    module, precision, folder, threads = sys.argv[1:5]
    # What libraries print goes to the log; standard output carries the answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        contender: Contender = importlib.import_module(f"benchmarks.contenders.{module}").load(
            Path(folder), precision=precision, threads=int(threads)
        )
        contender.run(Workload(requests=2, prompt_tokens=8, new_tokens=3))
    except NotHere as error:
        answer({"not_here": str(error)})
        return
    except Exception as error:
        answer({"not_here": f"{type(error).__name__}: {error}"})
        raise
    answer({"versions": contender.versions, "path": contender.path})
    for line in sys.stdin:
        asked = json.loads(line)
        if "texts" in asked:
            answer({"surprises": cast("Scorer", contender).surprises(asked["texts"])})
            continue
        try:
            timing = contender.run(Workload(**asked))
        except CannotRun as error:
            answer({"cannot_run": str(error)})
        else:
            answer(asdict(timing))


if __name__ == "__main__":
    main()
