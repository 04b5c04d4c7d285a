"""Build the native kernels, and say so where that cannot be done."""

from inference.engine.native.build import build

if not build():
    print("No C++ compiler was found: the engine runs without its native kernels, slower and as exact.")
