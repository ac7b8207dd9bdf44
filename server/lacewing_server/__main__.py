"""``python -m lacewing_server``: the same as ``lacewing serve``."""

from __future__ import annotations

from lacewing_server.commands import serve

if __name__ == "__main__":
    serve()
