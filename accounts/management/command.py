"""What all commands about accounts share."""

from django.core.checks import Tags
from django.core.management.base import BaseCommand


class AccountsCommand(BaseCommand):
    """Warns of a service that is open to others, and leaves the other checks to the server's start.

    They import every page and endpoint, which takes longer than the command itself.
    """

    requires_system_checks = [Tags.security]
