"""The native kernels of each generation of CPUs that this machine can run."""

from inference.engine.native import build
from inference.engine.native import kernels as native
from inference.engine.native.generation import generation
from inference.engine.native.kernels import Kernels


def generations() -> list[Kernels]:
    """The kernels of every generation of CPUs that this one can run: all before its own."""
    build.build()
    known = list(build.GENERATIONS)
    runnable = known[: known.index(generation()) + 1]
    opened = [native._open(library) for name in runnable if (library := build.built(name))]
    return [kernels for kernels in opened if kernels]


def generations_with_8_bit_products() -> list[Kernels]:
    """Those of them that multiply in 8 bits; a fixture over none skips its tests."""
    return [kernels for kernels in generations() if kernels.has_8_bit_products]
