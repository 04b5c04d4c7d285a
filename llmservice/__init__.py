"""The wiring of the service: settings, URLs, middleware, server configuration, start-up commands."""

__version__ = "0.1.0"
