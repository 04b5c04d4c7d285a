"""The endpoint that a request counts for in its key's usage."""

from accounts.models import UNKNOWN_ENDPOINT
from llmservice.http import request_record


def current() -> str:
    """The address of the request that this thread answers, such as `/v1/completions`, as in the URLconf."""
    record = request_record.current()
    return UNKNOWN_ENDPOINT if record is None or record.route is None else record.route
