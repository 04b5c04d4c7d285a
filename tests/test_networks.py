import pytest

from accounts import services
from llmservice.http import networks


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([], []),
        (["10.0.0.0/8"], ["10.0.0.0/8"]),
        (["192.0.2.7"], ["192.0.2.7/32"]),
        ([" 2001:DB8::/32 ", "2001:db8::/32"], ["2001:db8::/32"]),
    ],
)
def test_networks_are_kept_in_their_usual_form_each_once(given: list[str], kept: list[str]) -> None:
    assert networks.parse(given) == kept


@pytest.mark.parametrize("text", ["", "10.0.0.256", "10.0.0.1/8", "10.0.0.0/33", "example.org", "0x7f000001"])
def test_what_is_no_network_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="“"):
        networks.parse(["10.0.0.0/8", text])


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        (None, ""),
        ("nonsense", ""),
    ],
)
def test_the_place_of_an_address_is_itself_or_its_network_of_ipv6(address: str | None, place: str) -> None:
    assert networks.neighbourhood(address) == place


@pytest.mark.django_db
def test_a_key_cannot_have_a_network_that_is_none() -> None:
    with pytest.raises(services.KeyChangeError, match=r"“10.0.0.1/8”"):
        services.create_key(name="search", allowed_networks=["10.0.0.1/8"])
