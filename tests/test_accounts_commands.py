import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from accounts import services
from accounts.models import APIKey

pytestmark = pytest.mark.django_db


def output(command: str) -> str:
    stdout = StringIO()
    call_command(command, stdout=stdout)
    return stdout.getvalue()


def test_seed_makes_the_default_key_once_and_never_prints_it(settings: Any) -> None:
    settings.API_KEY = "mysecurekey123"
    first, second = output("seed"), output("seed")
    assert "Made the API key" in first
    assert "API_KEY is one of them" in second
    assert "mysecurekey123" not in first + second
    assert first.count("\n") == second.count("\n") == 1
    assert services.find_secret("mysecurekey123") is not None
    assert APIKey.objects.count() == 1


def test_seed_says_when_the_key_in_the_environment_does_not_open_the_service(settings: Any) -> None:
    services.create_key(name="search")
    settings.API_KEY = "another-key"
    assert "API_KEY is none that is accepted" in output("seed")
    assert services.find_secret("another-key") is None


def test_seed_makes_nothing_of_an_empty_key(settings: Any) -> None:
    settings.API_KEY = ""
    assert "API_KEY is empty" in output("seed")
    assert not APIKey.objects.exists()


@pytest.mark.parametrize("secret", ["two words", "ключ", "llms_mine", "x" * 257])
def test_seed_refuses_a_key_that_could_never_work_without_printing_it(settings: Any, secret: str) -> None:
    settings.API_KEY = secret
    with pytest.raises(CommandError, match="API_KEY cannot be a key") as refused:
        call_command("seed")
    assert secret not in str(refused.value)


def test_the_admin_account_is_made_once_with_a_password_that_works() -> None:
    match = re.search(r"“(\w+)” with the password (\S+)", output("ensure_admin"))
    assert match is not None
    user = User.objects.get()
    assert user.username == match[1] == "admin"
    assert user.is_superuser
    assert output("ensure_admin") == ""
    assert User.objects.get().check_password(match[2])


def test_no_admin_account_is_made_where_there_is_a_superuser() -> None:
    User.objects.create_superuser("ada", password="correct horse")
    assert output("ensure_admin") == ""
    assert User.objects.count() == 1


def test_an_ordinary_account_named_admin_is_left_alone() -> None:
    User.objects.create_user("admin", password="correct horse")
    with pytest.raises(CommandError, match="createsuperuser"):
        call_command("ensure_admin")
    assert not User.objects.get().is_superuser
