from django.urls import path

from accounts.self_service import OwnKeyView, RevokeView, RotateView

urlpatterns = [
    path("keys/me", OwnKeyView.as_view(), name="own-key"),
    path("keys/me/rotate", RotateView.as_view(), name="rotate-own-key"),
    path("keys/revoke", RevokeView.as_view(), name="revoke-secret"),
]
