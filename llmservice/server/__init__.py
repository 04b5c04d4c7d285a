"""The HTTP server in each of gunicorn's workers: connections cost a thread only while a request is answered.

gunicorn's master process imports this package, so it must not import Django.
"""
