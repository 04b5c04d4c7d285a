"""`manage.py disable_key`: disable an API key from a script."""

from accounts import services
from accounts.management.key_command import KeyCommand


class Command(KeyCommand):
    help = "Refuse an API key until it is enabled again."
    change = staticmethod(services.disable)
    done = "Disabled the API key “{key}”."
