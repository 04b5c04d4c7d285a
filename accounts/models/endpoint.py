"""How the endpoint of a request is stored, with its reservation and in the usage."""

LONGEST_ENDPOINT = 100
UNKNOWN_ENDPOINT = "unknown"
"""Of what an earlier version counted, without the endpoint."""
