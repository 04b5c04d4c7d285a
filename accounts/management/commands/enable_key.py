"""`manage.py enable_key`: enable a disabled API key from a script."""

from accounts import services
from accounts.management.key_command import KeyCommand


class Command(KeyCommand):
    help = "Accept a disabled API key again."
    change = staticmethod(services.enable)
    done = "Enabled the API key “{key}”."
