"""Generation by another engine with OpenAI's API, at one URL; nothing here needs torch."""
