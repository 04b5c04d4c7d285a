"""Build the native kernels, and say so where that cannot be done."""

import argparse
import sys

from inference.engine.native.build import GENERATIONS, build

parser = argparse.ArgumentParser(prog="python -m inference.engine.native", description=__doc__)
parser.add_argument(
    "--required", action="store_true", help="fail unless the kernels were built for every generation of CPUs"
)
required = parser.parse_args().required
libraries = build()
if required and len(libraries) < len(GENERATIONS):
    sys.exit("The native kernels could not all be built: install a C++ compiler that knows these CPUs.")
if not libraries:
    print("No C++ compiler was found: the engine runs without its native kernels, slower and as exact.")
