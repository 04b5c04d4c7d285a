"""All layers of a model as one native call: recorded, compiled, run."""
