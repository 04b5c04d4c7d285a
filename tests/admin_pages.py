"""How the tests use the pages of the admin."""

import re
from typing import Any

from django.test import Client
from django.urls import reverse

from accounts.models import APIKey, Scope

LIST = "/admin/accounts/apikey/"
REASON = "As agreed"


def url(page: str, key: APIKey) -> str:
    return reverse(f"admin:accounts_apikey_{page}", args=[key.pk])


def create(client: Client, **fields: Any) -> Any:
    filled = {"name": "search", "scopes": Scope.values, "prompts": "default", "expiry": "never"}
    return client.post(f"{LIST}add/", {**filled, **fields})


def change(client: Client, key: APIKey, **fields: Any) -> Any:
    given = {"name": key.name, "scopes": Scope.values, "prompts": key.prompts, **fields}
    return client.post(url("change", key), given, follow=True)


def rotate(client: Client, key: APIKey, grace: str = "3600", rotations: int = 0, **fields: str) -> Any:
    form = {"grace": grace, "rotations": str(rotations), **fields}
    return client.post(url("rotate", key), form, follow=True)


def act(client: Client, action: str, key: APIKey, reason: str = REASON) -> Any:
    return client.post(url(action, key), {"reason": reason}, follow=True)


def shown_secret(response: Any) -> str:
    secrets = set(re.findall(r"llms_\w{38}", response.content.decode()))
    assert len(secrets) == 1
    return str(secrets.pop())


def text(response: Any) -> str:
    return str(response.content.decode())


def table_rows(page: str) -> list[list[str]]:
    """The cells of each table row on the page, as text."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows)
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in cells]
