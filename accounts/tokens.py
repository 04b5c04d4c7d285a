"""The format of an API key's secret: how it is generated, validated, stored and displayed.

A secret is `llms_`, 32 random base62 characters (190 bits), and a CRC-32 of all these characters as 6 more in
base62. The checksum is not a protection: with it, junk is refused without a query, and a secret scanner can
recognise a secret. Other strings can be secrets too (`is_acceptable`), because an operator may choose the
secret of the first key.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib

from django.conf import settings

PREFIX = "llms_"
MAX_LENGTH = 256
DISPLAY_LENGTH = len(PREFIX) + 6

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6
_WELL_FORMED = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")
_VISIBLE_ASCII = re.compile(r"[!-~]+")


def generate() -> str:
    """Return a new secret from the operating system's source of randomness."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Whether this has the format of generated secrets, including a valid checksum."""
    if _WELL_FORMED.fullmatch(secret) is None:
        return False
    body, checksum = secret[:-_CHECKSUM_LENGTH], secret[-_CHECKSUM_LENGTH:]
    return _checksum(body) == checksum


def is_acceptable(secret: str) -> bool:
    """Whether a key can have this secret at all; if not, no query is needed.

    A secret is visible ASCII of at most `MAX_LENGTH` characters, which every HTTP client can send in a
    header. If it starts like a generated secret, it must be well-formed.
    """
    if len(secret) > MAX_LENGTH or _VISIBLE_ASCII.fullmatch(secret) is None:
        return False
    return not secret.startswith(PREFIX) or is_well_formed(secret)


def digest(secret: str) -> str:
    """Return the digest that is stored: hexadecimal HMAC-SHA256 (RFC 2104) under `API_KEY_PEPPER`."""
    return hmac.new(settings.API_KEY_PEPPER.encode(), secret.encode(), hashlib.sha256).hexdigest()


def display_prefix(secret: str) -> str:
    """Return the first characters of a secret, which identify it to people without revealing it.

    Of a generated secret, 26 random characters stay hidden; of any other, at least three quarters.
    """
    if is_well_formed(secret):
        return secret[:DISPLAY_LENGTH]
    return secret[: min(4, len(secret) // 4)]


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        number, remainder = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[remainder])
    return "".join(reversed(digits))
