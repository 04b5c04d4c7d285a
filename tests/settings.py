"""The service's own settings for the tests, which store their files in a temporary folder.

Of the settings in the environment, only DATABASE_URL is used.
"""

import atexit
import os
import shutil
import tempfile
from dataclasses import fields

from llmservice.environment import Environment

for _field in fields(Environment):
    if _field.name != "database_url":
        os.environ.pop(_field.name.upper(), None)
os.environ["VAR_DIR"] = tempfile.mkdtemp(prefix="llmservice-tests-")
atexit.register(shutil.rmtree, os.environ["VAR_DIR"], ignore_errors=True)

from llmservice.settings import *  # noqa: E402, F403

# The real hashers take a tenth of a second per password, by design.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Each test has a client of its own, for which the middleware is loaded. It would look at all static files
# then, which took a third of such a test. This lets it look for a file once it is asked for.
WHITENOISE_AUTOREFRESH = True
