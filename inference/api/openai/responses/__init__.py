"""OpenAI's Responses API, without state: the service stores no responses."""
