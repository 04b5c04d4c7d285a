"""The service over HTTP, against a service of the usual kind. `python -m benchmarks.http`."""
