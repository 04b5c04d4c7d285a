"""What the pages allow a browser to load and run; the browser tests show that the pages still work."""

import re
from datetime import timedelta

import pytest
from django.test import Client

from accounts import services

pytestmark = pytest.mark.django_db

INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", re.IGNORECASE)


def policy_of(client: Client, path: str) -> dict[str, str]:
    header = client.get(path).headers["Content-Security-Policy"]
    return dict(directive.partition(" ")[::2] for directive in header.split("; "))


def pages() -> list[str]:
    key = services.create_key(name="search").key
    services.rotate(key=key, grace=timedelta(hours=1))
    of_key = f"/admin/accounts/apikey/{key.pk}"
    actions = [f"{of_key}/{name}/" for name in ("change", "history", "rotate", "disable", "revoke")]
    return ["/", "/docs", "/admin/", "/admin/password_change/", "/admin/accounts/apikey/", *actions]


def test_pages_run_scripts_of_their_own_host_only_and_contain_nothing_inline(admin_client: Client) -> None:
    for path in pages():
        policy = policy_of(admin_client, path)
        assert policy["default-src"] == "'none'", path
        assert policy["script-src"] == policy["style-src"] == "'self'", path
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'", path
        assert INLINE.findall(admin_client.get(path).content.decode()) == [], path


def test_the_login_page_and_the_errors_of_the_admin_have_the_policy_of_pages(client: Client) -> None:
    for path in ("/admin/login/", "/admin/nothing/here/"):
        assert policy_of(client, path)["script-src"] == "'self'"


@pytest.mark.parametrize("path", ["/health", "/generate", "/schema", "/nothing", "/static/admin/js/core.js"])
def test_anything_but_a_page_may_load_nothing(client: Client, path: str) -> None:
    policy = policy_of(client, path)
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "script-src" not in policy


def test_a_request_that_is_refused_early_has_a_policy_as_well(client: Client) -> None:
    refused = client.get("/health", headers={"host": "evil.example"})
    assert refused.status_code == 400
    assert "default-src 'none'" in refused.headers["Content-Security-Policy"]
