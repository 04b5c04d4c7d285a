"""Why the service cannot start."""


class CannotServe(Exception):
    """The service cannot start; the text is one sentence that tells the operator what to do."""
