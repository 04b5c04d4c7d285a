"""`make audit`: whether a locked package has a known vulnerability, by pip-audit.

pip-audit also ends well if its source knows none of the packages, as with a mirror that serves files alone.
Here that counts as not audited.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parent.parent
PINNED = re.compile(r"^[\w.-]+(?:\[[\w,-]+\])?==[^\s;]+", re.MULTILINE)
CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 2


def main() -> int:
    """Audit every lock file, and torch, which no lock file has; returns the exit status."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(locked()))
        file.flush()
        ran = subprocess.run(  # noqa: S603
            [
                *(sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json"),
                *("--progress-spinner", "off", "--timeout", "15", "-r", file.name),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    status, report = judged(ran.stdout, ran.stderr)
    print(report)
    return status


def locked() -> list[str]:
    """Every package with its version, once: pip-audit takes none that several files name."""
    files = [*(REQUIREMENTS / "lock").glob("*.txt"), REQUIREMENTS / "cpu.txt"]
    return sorted({found for file in files for found in PINNED.findall(file.read_text())})


def judged(output: str, errors: str) -> tuple[int, str]:
    """The exit status and the report, from what pip-audit wrote."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        cause = (errors.strip().splitlines() or ["pip-audit ended without a result"])[-1]
        return NOT_AUDITED, f"NOT AUDITED: the source of known vulnerabilities cannot be reached ({cause})."
    skipped = sorted(package["name"] for package in packages if "skip_reason" in package)
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}"
        + (f", mended in {', '.join(flaw['fix_versions'])}" if flaw["fix_versions"] else ", not mended yet")
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    if packages and len(skipped) == len(packages):
        why = "the source of known vulnerabilities knows none of the packages; a mirror may not have it"
        return NOT_AUDITED, f"NOT AUDITED: {why}."
    lines = [*found, f"{len(packages) - len(skipped)} packages audited, {len(found)} vulnerabilities known."]
    if skipped:
        lines.append(f"NOT AUDITED: {', '.join(skipped)}.")
    return (VULNERABLE if found else NOT_AUDITED if skipped else CLEAN), "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
