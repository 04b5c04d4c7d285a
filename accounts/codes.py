"""The codes of what can be wrong with a key, and of its limits."""

from llmservice.http.codes import Code, declare

KEY_MISSING = Code("key_missing", 403, "The request has no API key.")
KEY_INVALID = Code("key_invalid", 403, "No API key has this secret.")
KEY_DISABLED = Code("key_disabled", 403, "The API key is disabled.")
KEY_EXPIRED = Code("key_expired", 403, "The API key has expired.")
KEY_REVOKED = Code("key_revoked", 403, "The API key has been revoked.")
SECRET_EXPIRED = Code("secret_expired", 403, "A newer secret of the API key has replaced this one.")
SECRET_REVOKED = Code("secret_revoked", 403, "The secret was reported as leaked.")
ADDRESS_NOT_ALLOWED = Code("address_not_allowed", 403, "The API key may not be used from this address.")
SCOPE_MISSING = Code("scope_missing", 403, "The API key lacks the scope that this request needs.")
SECRET_NOT_NEWEST = Code("secret_not_newest", 409, "Only the newest secret of a key can rotate it.")
KEY_CONFLICT = Code("key_conflict", 409, "The present state of the key does not allow the change.")
EXCEEDS_DAY = Code("exceeds_day", 422, "The request may use more tokens than the key may use in a day.")
EXCEEDS_MAX_TOKENS = Code(
    "exceeds_max_tokens", 422, "The request asks for more new tokens than the key may request."
)
REQUESTS_LIMIT = Code("requests_limit", 429, "The key has made all its requests of the minute.")
TOKENS_LIMIT = Code("tokens_limit", 429, "The key has used its tokens of the day.")
CONCURRENCY_LIMIT = Code("concurrency_limit", 429, "The key has as many running requests as it may have.")
ADDRESS_LIMIT = Code("address_limit", 429, "Too many wrong keys or reports came from this address.")

declare(
    [
        KEY_MISSING,
        KEY_INVALID,
        KEY_DISABLED,
        KEY_EXPIRED,
        KEY_REVOKED,
        SECRET_EXPIRED,
        SECRET_REVOKED,
        ADDRESS_NOT_ALLOWED,
        SCOPE_MISSING,
        SECRET_NOT_NEWEST,
        KEY_CONFLICT,
        EXCEEDS_DAY,
        EXCEEDS_MAX_TOKENS,
        REQUESTS_LIMIT,
        TOKENS_LIMIT,
        CONCURRENCY_LIMIT,
        ADDRESS_LIMIT,
    ]
)
