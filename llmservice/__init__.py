"""The wiring of the service: settings, URLs, errors, the server's configuration."""

__version__ = "0.1.0"
