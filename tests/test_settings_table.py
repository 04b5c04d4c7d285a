"""Whatever repeats the settings outside of their declarations agrees with them."""

import re

import yaml

from llmservice import settings_table
from llmservice.environment import BASE_DIR, Environment

# Compose or the image set these, not the operator; the port in the container is always the same.
SET_FOR_THE_CONTAINER = {"HOST", "PORT", "VAR_DIR", "DATABASE_URL"}
OF_THE_MODEL_HUB = {"HF_TOKEN"}
OF_OPENTELEMETRY = {
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES"),
    *("OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
}


def test_the_page_of_settings_is_up_to_date() -> None:
    written = (BASE_DIR / "docs" / "settings.md").read_text()

    assert written == settings_table.document(), (
        "Run `python -m llmservice.settings_table > docs/settings.md`."
    )


def test_the_page_describes_every_setting_and_shows_no_secret_default_but_the_well_known_key() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", settings_table.document(), flags=re.MULTILINE)

    variables = Environment.variables()
    assert [name for name, _ in rows] == list(variables)
    shown = {name for name, default in rows if default and variables[name].secret}
    assert shown == {"API_KEY"}


def test_compose_passes_on_every_setting() -> None:
    """Each from the variable of the same name, so that the shell and `.env` reach the container."""
    compose = yaml.safe_load((BASE_DIR / "docker-compose.yml").read_text())
    environment = compose["services"]["service"]["environment"]

    passed = {
        name for name, value in environment.items() if re.fullmatch(rf"\$\{{{name}:-[^}}]*\}}", str(value))
    }
    own = set(Environment.variables()) - SET_FOR_THE_CONTAINER
    assert passed == own | OF_THE_MODEL_HUB | OF_OPENTELEMETRY
    assert set(environment) - passed == {"DATABASE_URL"}


def test_the_composition_for_development_runs_every_folder_of_code_from_the_working_tree() -> None:
    development = yaml.safe_load((BASE_DIR / "docker-compose.dev.yml").read_text())
    mounted = {
        volume.split(":")[0].removeprefix("./") for volume in development["services"]["service"]["volumes"]
    }

    dockerfile = (BASE_DIR / "Dockerfile").read_text()
    code = {name.rstrip("/") for name in re.findall(r"^COPY (manage\.py|\w+/) ", dockerfile, re.MULTILINE)}
    assert {"manage.py", "inference"} <= code
    assert mounted == code
