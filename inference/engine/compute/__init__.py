"""The forward pass: a Hugging Face model, hooked and verified."""
