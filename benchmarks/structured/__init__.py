"""What holding texts to JSON Schemas costs, and whether they fit."""
