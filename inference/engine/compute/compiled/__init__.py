"""A model as native programs, from token ids to logits: it is computed, and starts, without PyTorch."""
