"""Long trials of the real service, each of which passes or fails: `make trial`.

To add one, add a function to a file in `cases/`, or a file with one, and put `@trial` above it.
"""
