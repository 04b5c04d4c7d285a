"""What the service is made of, and the tools that look after it."""
