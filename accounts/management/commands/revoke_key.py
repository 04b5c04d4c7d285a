"""`manage.py revoke_key`: revoke an API key from a script."""

from accounts import services
from accounts.management.key_command import KeyCommand


class Command(KeyCommand):
    help = "Revoke an API key permanently."
    change = staticmethod(services.revoke)
    done = "Revoked the API key “{key}”."
