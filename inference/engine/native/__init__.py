"""The native kernels: the C++ sources, `build`, which compiles them, and `kernels`, the bindings.

`python -m inference.engine.native` compiles them. It needs only this folder and a C++ compiler.
"""
