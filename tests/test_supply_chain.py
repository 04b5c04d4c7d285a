"""The lock files say what the requirements say, and the audit says what it could not look at."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmservice.environment import BASE_DIR
from requirements.supply_chain import audit, licences

REQUIREMENTS = BASE_DIR / "requirements"
LOCKS = sorted((REQUIREMENTS / "lock").glob("*.txt"))
PINNED = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", re.MULTILINE)
# torch has an index of its own, and the quick-start model is fetched apart, by the hash in its file.
NOT_LOCKED = {"torch"}
# llama.cpp is built from source, by what its own build asks for.
WITHOUT_LOCK = {"constraints", "cpu", "quickstart-model", "bench-llama_cpp"}


def pinned(file: Path) -> dict[str, str]:
    """The versions in a file, by the normalised names of the packages."""
    return {
        re.sub("[-_.]+", "-", name).lower(): version for name, version in PINNED.findall(file.read_text())
    }


def test_every_file_of_requirements_has_a_lock_file() -> None:
    assert {file.stem for file in LOCKS} == {file.stem for file in REQUIREMENTS.glob("*.txt")} - WITHOUT_LOCK


@pytest.mark.parametrize("lock", LOCKS, ids=lambda file: file.stem)
def test_a_lock_file_has_every_requirement_and_a_hash_of_each_package(lock: Path) -> None:
    """`make lock` writes them anew."""
    required = pinned(REQUIREMENTS / lock.name)
    locked = pinned(lock)
    assert {name: locked.get(name) for name in required.keys() - NOT_LOCKED} == {
        name: version for name, version in required.items() if name not in NOT_LOCKED
    }
    for entry in re.split(r"\n(?=\w)", lock.read_text().strip()):
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("name", ["service", "base", "quickstart", "tracing", "bench", "dev", "supply-chain"])
def test_lock_files_have_the_versions_of_the_constraints(name: str) -> None:
    constraints = pinned(REQUIREMENTS / "constraints.txt")
    locked = pinned(REQUIREMENTS / "lock" / f"{name}.txt")
    assert {one: locked[one] for one in locked.keys() & constraints.keys()} == {
        one: constraints[one] for one in locked.keys() & constraints.keys()
    }


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile"])
def test_pip_resolves_nothing_when_it_installs_a_lock_file(file: str) -> None:
    """pip 23 takes an extra's newest release and then refuses it, because the lock file has no hash of it."""
    commands = [line for line in (BASE_DIR / file).read_text().splitlines() if "--require-hashes" in line]
    assert commands
    assert [command for command in commands if "--no-deps" not in command] == []


@pytest.mark.slow
def test_the_installed_packages_have_everything_that_they_require() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_page_of_licences_names_every_package_of_the_service() -> None:
    page = (BASE_DIR / "docs" / "licences.md").read_text()
    named = {name for row in re.findall(r"^\| [^|]+ \| ([^|]+) \|$", page, re.M) for name in row.split(", ")}
    assert named - {"Packages"} == set(licences.run_time_packages())


def test_an_audit_without_its_source_is_none() -> None:
    status, report = audit.judged("", "Traceback …\nConnectionError: no route to host\n")
    assert status == audit.NOT_AUDITED
    assert report.startswith("NOT AUDITED")
    assert "no route to host" in report

    skipped = {"dependencies": [{"name": "django", "skip_reason": "not found"}]}
    status, report = audit.judged(json.dumps(skipped), "")
    assert status == audit.NOT_AUDITED
    assert report.startswith("NOT AUDITED")


def test_an_audit_names_what_it_found_and_what_it_left_out() -> None:
    clean = {"name": "django", "version": "5.2", "vulns": []}
    flawed = {"name": "idna", "version": "3", "vulns": [{"id": "CVE-1", "fix_versions": ["3.1"]}]}
    unknown = {"name": "ours", "skip_reason": "not found"}

    assert audit.judged(json.dumps({"dependencies": [clean]}), "")[0] == audit.CLEAN
    status, report = audit.judged(json.dumps({"dependencies": [clean, flawed, unknown]}), "")
    assert status == audit.VULNERABLE
    assert report.splitlines() == [
        "idna 3: CVE-1, mended in 3.1",
        "2 packages audited, 1 vulnerabilities known.",
        "NOT AUDITED: ours.",
    ]


def test_an_audit_looks_at_every_locked_package_and_at_torch() -> None:
    packages = audit.locked()
    assert len(packages) == len(set(packages)) > 100
    assert {line.partition("==")[0] for line in packages} >= {"torch", "django", "pytest", "pip-audit"}
