"""Prepared weights kept in a file, and shared by the processes that compute with them."""
