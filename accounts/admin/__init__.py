"""The admin's pages on keys, their usage and their events."""

from django.contrib import admin

# Importing them registers them.
from accounts.admin import events as events
from accounts.admin import keys as keys
from accounts.admin import usage as usage

admin.site.site_header = admin.site.site_title = "llmservice"
admin.site.index_title = "Administration"
