from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from llmservice.docs import DocsView, NotFoundView, SchemaView
from llmservice.favicon import FaviconView
from llmservice.metrics import MetricsView

urlpatterns = [
    path("", include("inference.urls")),
    path("", include("accounts.urls")),
    path("docs", DocsView.as_view(), name="docs"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("favicon.ico", FaviconView.as_view(), name="favicon"),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/now/", include("llmservice.now.views")),
    path("admin/", admin.site.urls),
    re_path("", NotFoundView.as_view(), name="not-found"),
]

handler400 = "llmservice.http.problems.bad_request"
handler403 = "accounts.admin.forbidden.permission_denied"
handler404 = "llmservice.http.problems.page_not_found"
handler500 = "llmservice.http.problems.server_error"
