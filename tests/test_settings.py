"""Settings are read at import, so each case reads them in a process of its own."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from inference import runtime
from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from llmservice.environment import BASE_DIR, Environment
from tests.models import save_tiny_model

pytestmark = pytest.mark.slow  # It starts processes.


def start(var_dir: Path, code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "llmservice.settings"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env={**inherited, "VAR_DIR": str(var_dir), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def settings_of(var_dir: Path, *names: str, **environ: str) -> Any:
    code = (
        "import json; from django.conf import settings\n"
        f"print(json.dumps([getattr(settings, name) for name in {names!r}], default=str))"
    )
    done = start(var_dir, code, **environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_secret_key_and_pepper_are_the_same_at_the_next_start(tmp_path: Path) -> None:
    first = settings_of(tmp_path, "SECRET_KEY", "API_KEY_PEPPER")

    assert settings_of(tmp_path, "SECRET_KEY", "API_KEY_PEPPER") == first
    assert (tmp_path / "secret_key").read_text().strip() == first[0]
    assert first[0] not in first[1]


def test_a_given_secret_key_and_pepper_are_used_and_not_stored(tmp_path: Path) -> None:
    given = settings_of(tmp_path, "SECRET_KEY", "API_KEY_PEPPER", SECRET_KEY="a" * 50, API_KEY_PEPPER="b")

    assert given == ["a" * 50, "b"]
    assert not (tmp_path / "secret_key").exists()


def test_the_default_database_is_a_sqlite_file_in_the_var_folder(tmp_path: Path) -> None:
    code = (
        "import django; django.setup(); from django.db import connection; cursor = connection.cursor()\n"
        "for name in 'journal_mode', 'busy_timeout': print(cursor.execute(f'PRAGMA {name}').fetchone()[0])\n"
        "print(connection.settings_dict['NAME'])"
    )

    done = start(tmp_path, code)

    assert done.stdout.split() == ["wal", "20000", str(tmp_path / "db.sqlite3")]


def test_connections_to_postgresql_are_pooled_checked_and_bounded(tmp_path: Path) -> None:
    url = "postgres://u:p@db.example:5433/name"
    (databases,) = settings_of(tmp_path, "DATABASES", DATABASE_URL=url, DATABASE_CONNECTIONS="7")

    database = databases["default"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["HOST"], database["PORT"], database["NAME"]) == ("db.example", 5433, "name")
    assert database["OPTIONS"]["pool"]["max_size"] == 7
    assert database["CONN_HEALTH_CHECKS"] is True


@pytest.mark.parametrize("url", ["mysql://u:hush@h/n", "nonsense", "postgres://u:hush@h:port/n"])
def test_a_bad_database_url_is_one_sentence_without_its_password(tmp_path: Path, url: str) -> None:
    code = "import sys; sys.argv = ['manage.py', 'migrate']; import manage; manage.main()"

    done = start(tmp_path, code, DATABASE_URL=url)

    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL must be ")
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_the_names_of_this_machine_and_the_host_are_allowed(tmp_path: Path) -> None:
    (hosts,) = settings_of(tmp_path, "ALLOWED_HOSTS", HOST="192.0.2.7", ALLOWED_HOSTS="llm.example")

    assert {"localhost", "127.0.0.1", "[::1]", "192.0.2.7", "llm.example"} == set(hosts)


def test_every_setting_has_the_name_of_its_variable(tmp_path: Path) -> None:
    given = {"LLM_MAX_RUNNING": "3", "LOG_PROMPTS": "yes", "DATABASE_WAIT_S": "1.5", "METRICS_TOKEN": "t"}

    assert settings_of(tmp_path, *given, **given) == [3, True, 1.5, "t"]


def test_no_secret_is_shown_on_an_error_page(tmp_path: Path) -> None:
    secrets = [name for name, variable in Environment.variables().items() if variable.secret]
    environ = dict.fromkeys(secrets, "hush-hush") | {"DATABASE_URL": "postgres://u:hush-hush@h/n"}
    code = (
        "from django.views.debug import SafeExceptionReporterFilter\n"
        "print(SafeExceptionReporterFilter().get_safe_settings())"
    )

    done = start(tmp_path, code, DEBUG="1", **environ)

    assert done.returncode == 0, done.stderr
    assert "'LLM_MODEL':" in done.stdout
    assert "hush" not in done.stdout


def test_the_settings_configure_the_engine(
    settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[EngineConfig] = []
    loaded = threading.Event()

    def load_engine(*_: object, config: EngineConfig, **__: object) -> None:
        configs.append(config)
        loaded.set()
        raise ModelUnavailable("not in this test")

    monkeypatch.setattr("inference.engine.loader.load_engine", load_engine)
    settings.LLM_MODEL = str(save_tiny_model(tmp_path))
    settings.LLM_MAX_RUNNING, settings.WEB_CONCURRENCY, settings.LLM_DTYPE = 3, 2, "int8"

    runtime.start()

    assert loaded.wait(60)
    assert configs == [EngineConfig(max_running=3, processes=2, dtype="int8")]
    runtime.stop()


@pytest.mark.parametrize(
    "path",
    ["admin/css/base.css", "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"],
)
def test_static_files_are_served_without_debug(client: Client, path: str) -> None:
    answer = client.get(f"/static/{path}")

    assert answer.status_code == 200
    assert b"".join(answer.streaming_content)  # type: ignore[attr-defined]


PRODUCTION = {
    "HTTPS": "1",
    "TRUSTED_PROXIES": "172.16.0.0/12",
    "ALLOWED_HOSTS": "llm.example",
    "API_KEY": "a-key-of-ones-own",
}


def test_the_deployment_check_finds_nothing_in_a_production_configuration(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['manage.py', 'check', '--deploy', '--fail-level', 'WARNING']\n"

    done = start(tmp_path, code + "import manage; manage.main()", **PRODUCTION)

    assert done.returncode == 0, done.stderr


def test_https_redirects_http_except_for_probes_and_sets_hsts(tmp_path: Path) -> None:
    code = (
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "client = Client(REMOTE_ADDR='172.18.0.2', HTTP_HOST='llm.example')\n"
        "for path in '/docs', '/health', '/metrics': print(client.get(path).status_code)\n"
        "answer = client.get('/docs', headers={'X-Forwarded-Proto': 'https'})\n"
        "print(answer.status_code, answer.headers['Strict-Transport-Security'])"
    )

    done = start(tmp_path, code, **PRODUCTION, HSTS_SECONDS="60")

    assert done.stdout.splitlines() == ["301", "200", "403", "200 max-age=60"], done.stderr
