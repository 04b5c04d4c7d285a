"""The service's own HTTP API."""
