"""Sessions of administrators, in the database."""

import re

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore

KEY = re.compile(r"[a-z0-9]{8,40}")


class SessionStore(DatabaseSessionStore):
    """Looks up only what can be a session's key.

    A cookie may contain any text, and PostgreSQL refuses NUL.
    """

    def __init__(self, session_key: str | None = None) -> None:
        is_key = session_key is not None and KEY.fullmatch(session_key) is not None
        super().__init__(session_key if is_key else None)
