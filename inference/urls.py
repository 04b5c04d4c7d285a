from django.urls import path

from inference.api.generate import GenerateView
from inference.api.health import HealthView, ReadyView

urlpatterns = [
    path("health", HealthView.as_view(), name="health"),
    path("ready", ReadyView.as_view(), name="ready"),
    path("generate", GenerateView.as_view(), name="generate"),
]
