import re
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from accounts import services
from accounts.bootstrap import BootstrapError, Bootstrapped, Superuser, bootstrap
from accounts.models import APIKey
from accounts.secret_lookup import find_secret

pytestmark = pytest.mark.django_db

KEY = "mysecurekey123"
ADA = Superuser(username="ada", password="correct horse", email="ada@example.org")


def output(*arguments: str) -> str:
    stdout = StringIO()
    call_command("bootstrap", *arguments, stdout=stdout)
    return stdout.getvalue()


def first_key(secret: str) -> Bootstrapped:
    return bootstrap(api_key=secret, superuser=None, generate_password=False)


def account(superuser: Superuser | None, *, generate_password: bool = False) -> Bootstrapped:
    return bootstrap(api_key="", superuser=superuser, generate_password=generate_password)


def test_the_first_key_is_created_once() -> None:
    first, second = first_key(KEY), first_key(KEY)

    assert first.key == APIKey.objects.get()
    assert second.key is None
    assert first.key_works
    assert second.key_works
    assert find_secret(KEY) is not None


def test_a_key_is_never_added_to_a_database_that_holds_one() -> None:
    services.create_key(name="search")

    done = first_key("another-key")

    assert done.key is None
    assert not done.key_works
    assert find_secret("another-key") is None


def test_a_revoked_key_in_the_environment_does_not_work() -> None:
    key = first_key(KEY).key
    assert key is not None
    services.revoke(key=key)

    assert not first_key(KEY).key_works


def test_an_empty_secret_creates_no_key() -> None:
    done = first_key("")

    assert (done.key, done.key_works) == (None, False)
    assert not APIKey.objects.exists()


@pytest.mark.parametrize("secret", ["two words", "ключ", "llms_mine", "x" * 257])
def test_a_key_that_could_never_work_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(BootstrapError, match="API_KEY cannot be used as a key") as refused:
        first_key(secret)

    assert secret not in str(refused.value)
    assert not APIKey.objects.exists()


def test_the_named_superuser_is_created_once() -> None:
    assert account(ADA).admin == "ada"
    assert account(ADA).admin is None

    user = User.objects.get()
    assert user.is_superuser
    assert user.check_password("correct horse")
    assert user.email == "ada@example.org"


def test_a_superuser_without_a_password_is_refused_and_leaves_nothing_behind() -> None:
    with pytest.raises(BootstrapError, match="DJANGO_SUPERUSER_PASSWORD"):
        bootstrap(api_key=KEY, superuser=Superuser(username="ada", password=""), generate_password=True)

    assert not User.objects.exists()
    assert not APIKey.objects.exists()


def test_an_existing_superuser_needs_no_password_in_the_environment() -> None:
    account(ADA)

    assert account(Superuser(username="ada", password="")).admin is None


def test_a_generated_password_works() -> None:
    first, second = account(None, generate_password=True), account(None, generate_password=True)

    user = User.objects.get()
    assert first.admin == user.username == "admin"
    assert first.password is not None
    assert user.check_password(first.password)
    assert user.is_superuser
    assert (second.admin, second.password) == (None, None)


@pytest.mark.parametrize("superuser", [None, ADA])
def test_no_password_is_generated_where_there_is_a_superuser(superuser: Superuser | None) -> None:
    account(ADA)

    done = account(superuser, generate_password=True)

    assert (done.admin, done.password) == (None, None)
    assert User.objects.count() == 1


def test_the_named_superuser_takes_precedence_over_a_generated_one() -> None:
    done = account(ADA, generate_password=True)

    assert (done.admin, done.password) == ("ada", None)
    assert User.objects.count() == 1


def test_an_ordinary_account_named_admin_is_left_alone() -> None:
    User.objects.create_user("admin", password="correct horse")

    with pytest.raises(BootstrapError, match="createsuperuser"):
        account(None, generate_password=True)

    assert not User.objects.get().is_superuser


def test_neither_password_nor_key_is_in_what_an_error_report_shows() -> None:
    done = bootstrap(api_key=KEY, superuser=None, generate_password=True)

    assert done.password is not None
    assert done.password not in repr(done)
    assert KEY not in repr(done)
    assert ADA.password not in repr(ADA)


@pytest.mark.django_db(transaction=True)
def test_processes_that_start_together_create_one_of_each() -> None:
    def start(_: int) -> Bootstrapped:
        try:
            return bootstrap(api_key=KEY, superuser=ADA, generate_password=True)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(start, range(4)))

    assert sum(one.key is not None for one in done) == 1
    assert [one.admin for one in done if one.admin is not None] == ["ada"]
    assert all(one.key_works for one in done)
    assert APIKey.objects.count() == User.objects.count() == 1


def test_the_command_reads_the_settings_and_never_prints_the_key(settings: Settings) -> None:
    settings.API_KEY = KEY
    settings.DJANGO_SUPERUSER_USERNAME = "ada"
    settings.DJANGO_SUPERUSER_PASSWORD = "correct horse"

    first, second = output(), output()

    assert "Created the API key" in first
    assert "Created the admin account “ada”" in first
    assert "already contains the key given in API_KEY" in second
    assert KEY not in first + second
    assert "correct horse" not in first + second
    assert User.objects.get().username == "ada"


def test_the_command_says_that_the_key_in_the_environment_does_not_work(settings: Settings) -> None:
    services.create_key(name="search")
    settings.API_KEY = "another-key"

    assert "the one given in API_KEY does not work" in output()


def test_the_command_says_that_no_key_was_configured(settings: Settings) -> None:
    settings.API_KEY = ""

    assert "API_KEY is empty" in output()


def test_the_command_prints_a_generated_password_that_works() -> None:
    match = re.search(r"“(\w+)” with the password (\S+)", output("--generate-password"))

    assert match is not None
    assert User.objects.get(username=match[1]).check_password(match[2])


def test_the_command_generates_no_password_unless_it_is_asked_to() -> None:
    output()

    assert not User.objects.exists()


def test_the_command_fails_with_one_sentence(settings: Settings) -> None:
    settings.API_KEY = "two words"

    with pytest.raises(CommandError, match="API_KEY cannot be used as a key"):
        output()
