"""Build the native kernels."""

import argparse
import sys

from inference.engine.native.build import GENERATIONS, build

parser = argparse.ArgumentParser(prog="python -m inference.engine.native", description=__doc__)
parser.add_argument(
    "--required", action="store_true", help="fail unless the kernels are built for every generation of CPUs"
)
required = parser.parse_args().required
libraries = build()
if required and len(libraries) < len(GENERATIONS):
    sys.exit("Some native kernels could not be built: install a newer C++ compiler (GCC 11 or newer).")
if not libraries:
    print("No native kernels were built, so the engine is slower: install a C++ compiler (GCC 11 or newer).")
