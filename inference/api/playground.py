"""`GET /`: a page to try the model, which speaks OpenAI's API from the browser."""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from rest_framework.request import Request

from inference import runtime
from llmservice.http.views import OpenView

FIRST_MAX_TOKENS = 256
"""What the page proposes, where the service allows as many."""


class PlaygroundView(OpenView):
    """The playground. It needs no key to open; its scripts send the key that the user enters."""

    def get(self, request: Request) -> HttpResponse:
        context = {
            "model": runtime.served_name(),
            "max_tokens": min(FIRST_MAX_TOKENS, settings.LLM_MAX_NEW_TOKENS),
        }
        return render(request, "inference/playground.html", context)
