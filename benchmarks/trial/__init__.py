"""Trials of the running service that take longer than its tests may."""
