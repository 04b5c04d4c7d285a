from django.urls import path

from inference.api.generate import GenerateView
from inference.api.health import HealthView, ReadyView
from inference.api.openai.chat import ChatCompletionsView
from inference.api.openai.completions import CompletionsView
from inference.api.openai.models import ModelsView, ModelView
from inference.api.openai.responses.view import ResponsesView, StoredResponseView
from inference.api.openai.tokens import DetokenizeView, TokenizeView
from inference.api.playground import PlaygroundView

urlpatterns = [
    path("", PlaygroundView.as_view(), name="playground"),
    path("health", HealthView.as_view(), name="health"),
    path("ready", ReadyView.as_view(), name="ready"),
    path("generate", GenerateView.as_view(), name="generate"),
    path("v1/models", ModelsView.as_view(), name="openai-models"),
    path("v1/models/<path:name>", ModelView.as_view(), name="openai-model"),
    path("v1/completions", CompletionsView.as_view(), name="openai-completions"),
    path("v1/chat/completions", ChatCompletionsView.as_view(), name="openai-chat"),
    path("tokenize", TokenizeView.as_view(), name="openai-tokenize"),
    path("detokenize", DetokenizeView.as_view(), name="openai-detokenize"),
    path("v1/responses", ResponsesView.as_view(), name="openai-responses"),
    path("v1/responses/<str:response_id>", StoredResponseView.as_view(), name="openai-stored-response"),
]
