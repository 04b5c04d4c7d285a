"""The service in front of real engines."""
