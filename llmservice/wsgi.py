"""The WSGI application that gunicorn's workers serve."""

import os

from django.core.wsgi import get_wsgi_application

from llmservice.whole_body import whole_bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llmservice.settings")

application = whole_bodies(get_wsgi_application())
