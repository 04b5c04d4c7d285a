"""How the service starts, and what an operator sees after a mistake."""

import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from llmservice.environment import BASE_DIR
from tests.e2e.conftest import (
    GUNICORN,
    Service,
    StartService,
    free_port,
    manage,
    python,
    running,
    service_environ,
)
from tests.waiting import wait_for

REFUSED_WITHIN_S = 30


def failing_setup(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What `manage.py setup` prints when it ends with an error, as it must."""
    done = subprocess.run(
        python("manage.py", "setup"), cwd=BASE_DIR, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    return done


def refusal(environ: dict[str, str], command: Sequence[str] = ()) -> str:
    """The one line that gunicorn prints, after its own first one, when it does not start."""
    done = subprocess.run(
        command or python(*GUNICORN),
        cwd=BASE_DIR,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if "Starting gunicorn" not in line]
    assert len(said) == 1, done.stderr
    return said[0]


@pytest.fixture
def environ(tmp_path: Path, tiny_model: Path, migrated_folder: Path) -> dict[str, str]:
    """The environment of a service that can start: the database is migrated and the model exists."""
    shutil.copytree(migrated_folder, tmp_path, dirs_exist_ok=True)
    return service_environ(tmp_path, LLM_MODEL=str(tiny_model))


@pytest.mark.parametrize("model", ["/no/such/folder", "nobody-here/no-such-model-5f2c"])
def test_an_unavailable_model_stops_the_start(environ: dict[str, str], model: str) -> None:
    started = time.monotonic()
    said = refusal({**environ, "LLM_MODEL": model})
    took = time.monotonic() - started

    assert took < REFUSED_WITHIN_S
    assert model in said
    assert "make run" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "http"), ("LLM_MAX_QUEUED", "-1"), ("LLM_MAX_QUEUE", "4"), ("DEBUG", "maybe")],
)
def test_an_invalid_setting_stops_the_start(environ: dict[str, str], name: str, value: str) -> None:
    assert refusal({**environ, name: value}).startswith(name)


def test_a_failed_start_leaves_no_files_behind(environ: dict[str, str], tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    refusal({**environ, "LLM_MODEL": "/no/such/folder", "TMPDIR": str(temporary)})
    assert not list(temporary.iterdir())


def test_a_database_without_tables_stops_the_start(tmp_path: Path, tiny_model: Path) -> None:
    said = refusal(service_environ(tmp_path, LLM_MODEL=str(tiny_model)))

    assert "manage.py migrate" in said


def test_the_database_of_a_newer_version_stops_the_start_and_the_setup(environ: dict[str, str]) -> None:
    with sqlite3.connect(Path(environ["VAR_DIR"]) / "db.sqlite3") as database:
        database.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('accounts', '9999_new', '2030-01-01')"
        )
    database.close()

    said = refusal(environ)
    assert said.startswith("A newer version has migrated the database, to accounts.9999_new: ")
    assert failing_setup(environ).stderr == f"CommandError: {said}\n"


def test_no_temporary_folder_that_can_be_written_to_stops_the_start(environ: dict[str, str]) -> None:
    # Not even root can write a file of more than 0 bytes then.
    command = ("bash", "-c", 'ulimit -f 0 && exec "$@"', "bash", *python(*GUNICORN))

    said = refusal(environ, command=command)

    assert said.startswith("No temporary folder can be written to: set TMPDIR")


def test_an_unreachable_database_stops_the_start(environ: dict[str, str]) -> None:
    said = refusal({**environ, "DATABASE_URL": f"postgres://u:hush@127.0.0.1:{free_port()}/n"})

    assert said.startswith("The database cannot be used (connection failed")
    assert "DATABASE_URL" in said
    assert "hush" not in said


def test_the_setup_says_in_one_sentence_why_the_database_cannot_be_used(environ: dict[str, str]) -> None:
    away = f"postgres://u:hush@127.0.0.1:{free_port()}/n"
    for url in (away, "sqlite:////proc/no-such.sqlite3"):
        done = failing_setup({**environ, "DATABASE_URL": url})
        assert "The database cannot be used (" in done.stderr
        assert "Traceback" not in done.stderr
        assert "hush" not in done.stderr


def test_a_port_that_is_taken_stops_the_start(environ: dict[str, str], service: Service) -> None:
    said = refusal({**environ, "PORT": service.environ["PORT"]})

    assert f"port {service.environ['PORT']}" in said


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_stops_the_start(environ: dict[str, str], host: str) -> None:
    said = refusal({**environ, "HOST": host})

    assert said.startswith(f"The service cannot listen on {host}")
    assert "set HOST to an address of this machine" in said


def test_a_folder_that_cannot_be_created_stops_the_setup(environ: dict[str, str]) -> None:
    done = failing_setup({**environ, "VAR_DIR": "/proc/no-such-folder", "SECRET_KEY": "s" * 50})
    assert done.stderr.startswith("CommandError: The folder /proc/no-such-folder cannot be created (")
    assert len(done.stderr.splitlines()) == 1


def test_a_database_beside_which_nothing_can_be_created_stops_the_setup(environ: dict[str, str]) -> None:
    (Path(environ["VAR_DIR"]) / "db.sqlite3.lock").mkdir()  # as root may write to any folder
    done = failing_setup(environ)
    assert "db.sqlite3.lock cannot be created (Is a directory)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_only_its_owner_can_read_the_stored_secret_key(service: Service) -> None:
    file = Path(service.environ["VAR_DIR"]) / "secret_key"

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_log_contains_no_secret(service: Service) -> None:
    httpx.get(f"{service.url}/health?key={service.key}", headers={"X-API-Key": service.key})

    # The line is written after the answer has been sent.
    wait_for(lambda: '"GET /health" 200' in service.log.read_text())
    assert service.key not in service.log.read_text()


def test_the_log_warns_if_other_machines_can_reach_the_service(start_service: StartService) -> None:
    started = start_service(HOST="0.0.0.0", DEBUG="1")
    for warning in ("llmservice.W001", "llmservice.W002"):
        wait_for(lambda warning=warning: warning in started.log.read_text())  # type: ignore[misc]


def test_a_job_can_prepare_the_database_without_serving(tmp_path: Path) -> None:
    environ = service_environ(tmp_path)
    manage(environ, "serve", "--only-prepare")
    assert "default" in manage(environ, "list_keys")


def test_a_second_setup_keeps_key_and_account(environ: dict[str, str]) -> None:
    first = manage(environ, "setup")
    second = manage(environ, "setup")

    assert first.count("with the password") == 1
    assert "with the password" not in second
    assert "mysecurekey123" in second


def test_the_setup_creates_the_account_that_the_settings_name(environ: dict[str, str]) -> None:
    account = {"DJANGO_SUPERUSER_USERNAME": "ada", "DJANGO_SUPERUSER_PASSWORD": "correct horse"}

    banner = manage({**environ, **account}, "setup")

    assert "Created the admin account “ada”" in banner
    assert "correct horse" not in banner
    assert "Created" not in manage(environ, "setup")


def test_an_account_without_a_password_stops_the_setup(environ: dict[str, str]) -> None:
    done = failing_setup({**environ, "DJANGO_SUPERUSER_USERNAME": "ada"})
    assert "DJANGO_SUPERUSER_PASSWORD" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_key_that_the_database_does_not_contain_is_not_printed(environ: dict[str, str]) -> None:
    manage(environ, "setup")

    assert "another-key" not in manage({**environ, "API_KEY": "another-key"}, "setup")


def test_a_setup_without_its_model_creates_nothing(environ: dict[str, str]) -> None:
    done = failing_setup({**environ, "LLM_MODEL": "/no/such/folder"})
    assert done.stdout == ""
    assert "/no/such/folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "with the password" in manage(environ, "setup")


def test_the_setup_becomes_the_server_even_with_an_empty_number_of_workers(
    environ: dict[str, str], tmp_path: Path
) -> None:
    command = ("manage.py", "setup", "--serve")
    with running({**environ, "WEB_CONCURRENCY": ""}, tmp_path / "log", command=command) as started:
        started.wait_ready()
        assert started.stop() == 0
    assert started.log.read_text().count("Booting worker") == 1
