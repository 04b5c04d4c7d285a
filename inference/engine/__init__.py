"""The text-generation engine: torch and transformers, no Django.

`engine.Engine` is the way in, `request` holds what goes in and out, `errors` what can go wrong; the last two
need no torch.
"""
