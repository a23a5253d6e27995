"""A model behind an OpenAI-compatible endpoint: wire dialects, the queue in front of the engine, access and metrics."""
