"""OpenAI's API under `/v1`, for clients that speak it."""
