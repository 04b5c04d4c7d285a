"""The fenced blocks of the documentation, and what their info strings say."""

import re
from dataclasses import dataclass
from pathlib import Path

from llmservice.environment import BASE_DIR

PAGES = (*BASE_DIR.glob("*.md"), *(BASE_DIR / "docs").glob("*.md"), BASE_DIR / "benchmarks" / "README.md")
BLOCK = re.compile(r"^```(\S*) *(.*)\n((?:.*\n)*?)```$", flags=re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, the word after it, and the line on which it begins."""

    language: str
    word: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(language=found[1], word=found[2], text=found[3], line=text.count("\n", 0, found.start()) + 1)
        for found in BLOCK.finditer(text)
    ]
