from django.apps import AppConfig


class LLMServiceConfig(AppConfig):
    name = "llmservice"

    def ready(self) -> None:
        from django.contrib import admin

        from llmservice import (
            checks,  # noqa: F401  (registers the system checks)
            database_file,
        )
        from llmservice.login import LoginForm

        admin.site.login_form = LoginForm
        database_file.connect_signals()
