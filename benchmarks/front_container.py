"""Time from `docker run` to `/ready` of the image for a service in front of another engine, and its size.

`python -m benchmarks.front_container`: with the new database of a first start, and with that of a start
before. The engine behind it answers at once. It needs Docker and the image, which
`docker build --build-arg BACKEND=upstream --tag llmservice-front .` makes. The first start is not counted.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from benchmarks.http.servers import front_in_container
from benchmarks.results import markdown, progress, with_spread
from benchmarks.stub_engine import stub_engine


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", default="llmservice-front")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(argv)
    new, existing = [], []
    with stub_engine() as url, tempfile.TemporaryDirectory() as kept:
        ready_s(given.image, url, Path(kept))
        for number in range(1, 1 + given.rounds):
            progress(f"round {number} of {given.rounds} ...")
            existing.append(ready_s(given.image, url, Path(kept)))
            with tempfile.TemporaryDirectory() as empty:
                new.append(ready_s(given.image, url, Path(empty)))
    size = ["docker", "image", "inspect", "--format", "{{.Size}}", given.image]
    megabytes = int(subprocess.run(size, check=True, stdout=subprocess.PIPE).stdout) / 1e6
    head = ["image", "MB", "s to /ready, new database", "existing database"]
    print(markdown(head, [[given.image, f"{megabytes:.0f}", with_spread(new), with_spread(existing)]]))


def ready_s(image: str, engine_url: str, data: Path) -> float:
    """Start a container with this folder for its data, wait until it is ready, stop it."""
    with front_in_container(image, engine_url, data) as server:
        return server.wait_ready()


if __name__ == "__main__":
    main()
