"""The folder of packed weights: one file for each model and format, shared by the processes that load it."""

import errno
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.engine.compute.packed import shared_memory
from inference.engine.compute.packed.files import COMPILED
from inference.engine.compute.packed.tensor_file import Damaged, NotKeepable, TensorFile, TensorWriter
from inference.engine.compute.weight_memory import huge_pages
from inference.engine.errors import Interrupted

logger = logging.getLogger(__name__)

_KEPT = 2
"""Files: so that a service that changes between two models or formats packs neither again."""
_WAIT_S = 600.0
_POLL_S = 0.05

Pack = Callable[[TensorWriter], dict[str, Any]]
"""Writes tensors, and returns a description of them."""


@dataclass(frozen=True)
class Packed:
    """The weights of a file: the memory that its tensors were read into, and their description."""

    memory: NDArray[np.uint8]
    description: dict[str, Any]


class PackedWeights:
    """Keeps packed weights in `folder`, which belongs to it alone.

    Args:
        ending: set once nobody needs the weights any more, so waiting for another process ends.
    """

    def __init__(self, folder: Path, *, ending: threading.Event | None = None) -> None:
        self._folder = folder
        self._ending = ending or threading.Event()

    def open(self, key: str, pack: Pack, *, size: int) -> Packed | None:
        """The packed weights with this key, packed first if there is no whole file of them.

        While one process packs or reads them, others wait for it. If it ends, another takes over.

        Args:
            key: of all that decides the content; it names the file.
            size: about how many bytes `pack` writes.

        Returns:
            None if no file can be written or read, after a line in the log that says why.

        Raises:
            Interrupted: nobody needs them any more.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                found = self._read(key)
                if found is None:
                    self._write_weights(key, pack, size)
                    found = self._read(key)
                return found
        except NotKeepable as reason:
            logger.info("Packed weights of this kind of model are not kept: it has %s.", reason)
        except OSError as error:
            logger.warning(
                "Packed weights are not kept, so each start packs them again: %s (%s). Let the service "
                "write there, or set LLM_PACKED_WEIGHTS=off.",
                self._folder,
                error.strerror or error,
            )
        return None

    def find(self, key: str) -> Packed | None:
        """The packed weights with this key; None if there is no whole file of them.

        Raises:
            Interrupted: nobody needs them any more.
        """
        try:
            with self._alone():
                return self._read(key)
        except OSError:
            return None

    def discard(self, key: str) -> None:
        """Remove the weights with this key, because they are of no use, if the folder can be changed."""
        for path in (self._file(key), self._file(key).with_suffix(COMPILED)):
            with suppress(OSError):
                path.unlink()

    def read_compiled(self, key: str) -> Packed | None:
        """The compiled model of the weights with this key; None if there is none."""
        path = self._file(key).with_suffix(COMPILED)
        try:
            file = TensorFile(path)
            memory = np.empty(file.size, dtype=np.uint8)
            file.read_into(memory)
        except Damaged:
            with suppress(OSError):
                path.unlink()
            return None
        except OSError:
            return None
        return Packed(memory, file.description)

    def write_compiled(self, key: str, pack: Pack) -> None:
        """Keep the compiled model of the weights with this key, which a start can do without."""
        path = self._file(key)
        try:
            # Without the lock: several processes may write the same at once.
            if path.exists():
                self._write(path.with_suffix(COMPILED), path.with_suffix(f".{os.getpid()}.part"), pack)
        except OSError as error:
            logger.info("The compiled model is not kept: %s.", error.strerror or error)

    def _read(self, key: str) -> Packed | None:
        path = self._file(key)
        try:
            file = TensorFile(path)
            memory = self._memory(key, file)
        except FileNotFoundError:
            return None
        except Damaged as damage:
            logger.warning("The packed weights in %s are packed again: %s.", path, damage)
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
        return Packed(memory, file.description)

    def _write_weights(self, key: str, pack: Pack, size: int) -> None:
        self._remove_all_but(_KEPT - 1)
        if shutil.disk_usage(self._folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path = self._file(key)
        path.with_suffix(COMPILED).unlink(missing_ok=True)
        self._write(path, path.with_suffix(".part"), pack)

    def _write(self, path: Path, unfinished: Path, pack: Pack) -> None:
        try:
            # Not synchronised with the disk: what a crash leaves of it is noticed when it is read.
            with unfinished.open("w+b") as file:
                writer = TensorWriter(file)
                writer.finish(pack(writer))
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _memory(self, key: str, file: TensorFile) -> NDArray[np.uint8]:
        """The memory with the content of a file: that of a process that has read it, or else new memory."""
        name = f"llmservice-{key}"
        addresses = self._addresses(key)
        for address in addresses:
            shared = shared_memory.attach(name, file.size, address)
            if shared is not None:
                self._publish(key, [*addresses, shared.address])
                return shared.content
        try:
            shared = shared_memory.create(name, file.size, file.read_into)
        except (shared_memory.NoHugePages, PermissionError) as reason:
            logger.info("Each process has the weights in memory of its own: %s.", reason)
        else:
            self._publish(key, [shared.address])
            return shared.content
        # Only here, because the exception holds the shared memory.
        private = huge_pages(file.size)
        file.read_into(private)
        return private

    def _addresses(self, key: str) -> list[tuple[int, int]]:
        try:
            lines = self._file(key).with_suffix(".shared").read_text().splitlines()
            return [(int(process), int(descriptor)) for process, descriptor in map(str.split, lines)]
        except (OSError, ValueError):
            return []

    def _publish(self, key: str, addresses: list[tuple[int, int]]) -> None:
        living = [address for address in addresses if _is_open(*address)]
        lines = ["{} {}\n".format(*address) for address in living]
        with suppress(OSError):  # on a full disk: others then read the weights into memory of their own
            self._file(key).with_suffix(".shared").write_text("".join(lines))

    def _remove_all_but(self, kept: int) -> None:
        """Remove the files that were used longest ago, and what interrupted starts have left."""
        files = sorted(self._folder.glob("*.weights"), key=lambda file: file.stat().st_mtime, reverse=True)
        names = {file.stem for file in files[:kept]}
        for file in self._folder.iterdir():
            if file.suffix in {".weights", COMPILED, ".part", ".shared"} and file.stem not in names:
                file.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.weights"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock, which the system releases when its holder ends, however it ends.

        Raises:
            TimeoutError: another process has held it for ten minutes.
            Interrupted: nobody needs the weights any more.
        """
        with (self._folder / "lock").open("ab") as file:
            deadline = time.monotonic() + _WAIT_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError("another process holds the lock there") from None
                    if self._ending.wait(_POLL_S):
                        raise Interrupted("The service ends while its model is loading.") from None
            yield


def _is_open(process: int, descriptor: int) -> bool:
    """Whether a process of this user has it: another user's may have the number of one that has ended."""
    try:
        return Path(f"/proc/{process}/fd/{descriptor}").exists()
    except PermissionError:
        return False
