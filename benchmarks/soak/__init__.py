"""Ten minutes of everything at once, and whether anything was lost: `make soak`."""
