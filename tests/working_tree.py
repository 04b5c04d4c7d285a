"""A copy of the working tree, for tests that build from it or change it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from llmservice.environment import BASE_DIR


def copy_working_tree(folder: Path, keep: Callable[[str], bool] = lambda name: True) -> Path:
    """Copy the files that git tracks or would track to `folder`, as far as `keep` holds for their paths."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=BASE_DIR,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    for name in filter(keep, listed.split("\0")):
        if (BASE_DIR / name).is_file():  # one that was deleted is listed until that is committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(BASE_DIR / name, folder / name)
    return folder
