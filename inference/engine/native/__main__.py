"""Build the native kernel, and say so."""

from inference.engine.native import build

if build() is None:
    print("No C++ compiler was found: the engine runs without its native kernel, slower and as exact.")
