"""Persistence: Redis keys, codec, scripts, and one method per transition."""
