"""`python -m llmservice.settings_table > docs/settings.md` writes the table of settings."""

from itertools import groupby
from pathlib import Path

from llmservice.environment import BASE_DIR, Environment
from llmservice.variable import Variable

INTRODUCTION = """\
# Settings

<!-- Generated from llmservice/environment.py, model_settings.py and upstream_settings.py by
`python -m llmservice.settings_table > docs/settings.md`. -->

Every setting is an environment variable. An empty variable counts as unset. An invalid value, or a variable
`LLM_…` that does not exist, stops the start with one sentence that names the variable. A switch is set by
`true`, `1`, `yes` or `on` and unset by `false`, `0`, `no` or `off`; lists are separated by commas.

- **`make run`** takes settings from the environment or as arguments: `make run PORT=8123 LLM_THREADS=4`.
  Without `LLM_MODEL` it serves the quick-start model.
- **Compose** takes settings from the shell or from a file `.env` beside `docker-compose.yml`, where a few
  have other defaults. `PORT` is the published port there; Compose itself sets `HOST`, `VAR_DIR` and
  `DATABASE_URL`.

`HF_TOKEN`, which gated models on the Hugging Face hub need, is read by the hub's own library.
"""


def document() -> str:
    """The text of `docs/settings.md`."""
    parts = [INTRODUCTION]
    for topic, variables in groupby(Environment.variables().values(), key=lambda variable: variable.topic):
        rows = [
            f"| `{variable.name}` | {_default(variable)} | {_values(variable)} | {variable.help} |\n"
            for variable in variables
        ]
        parts.append(f"\n## {topic}\n\n| Variable | Default | Values | |\n|-|-|-|-|\n{''.join(rows)}")
    return "".join(parts)


def _default(variable: Variable) -> str:
    match variable.default:
        case "" | ():
            return ""
        case bool() as default:
            shown = str(default).lower()
        case float() as default:
            shown = f"{default:g}"
        case Path() as default:
            shown = f"{default.relative_to(BASE_DIR)}/"
        case default:
            shown = str(default)
    return f"`{shown}`"


def _values(variable: Variable) -> str:
    match variable.default:
        case bool():
            return "`true`, `false`"
        case int() | float():
            return variable.bounds.removeprefix("from ").removeprefix("of ")
        case _:
            return ", ".join(f"`{choice}`" for choice in variable.choices)


if __name__ == "__main__":
    print(document(), end="")
