"""The WSGI application that gunicorn's workers serve."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmservice.settings")

application = get_wsgi_application()
