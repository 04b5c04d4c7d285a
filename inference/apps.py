from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "inference"

    def ready(self) -> None:
        from inference.api.errors import MEANINGS
        from llmservice.http import problems

        problems.register(MEANINGS)
