"""Use cases and loops, in asyncio code that reads from top to bottom."""
