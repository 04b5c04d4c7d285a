"""The version of the service stands in `llmservice/__init__.py` and nowhere else."""

import re

from llmservice import __version__
from llmservice.environment import BASE_DIR

PATTERNS = ("*.py", "*.toml", "*.yml", "Makefile", "Dockerfile", "manage.py", "llmservice/**/*.py")


def test_no_other_file_repeats_the_version() -> None:
    files = {file for pattern in PATTERNS for file in BASE_DIR.glob(pattern)}
    repeated = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])")

    found = {str(file.relative_to(BASE_DIR)) for file in files if repeated.search(file.read_text())}

    assert found == {"llmservice/__init__.py"}
