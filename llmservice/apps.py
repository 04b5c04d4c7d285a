from django.apps import AppConfig


class LLMServiceConfig(AppConfig):
    name = "llmservice"

    def ready(self) -> None:
        from llmservice import (
            checks,  # noqa: F401  (registers the system checks)
            database_file,
        )

        database_file.connect_signals()
