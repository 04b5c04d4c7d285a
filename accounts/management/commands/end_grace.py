"""`manage.py end_grace`: end the grace period of a rotated API key."""

from accounts import services
from accounts.management.key_command import KeyCommand


class Command(KeyCommand):
    help = "End the grace period of an API key's old secret now."
    change = staticmethod(services.end_grace)
    done = "Ended the grace period of the API key “{key}”: its old secret no longer works."
