"""Grammars: texts that fit a JSON Schema, a regular expression, a list of choices or a grammar.

`source` holds what a request asks for, `compiler` is the way in, and `constraint` follows one text.
llguidance computes which tokens may come next.
"""
