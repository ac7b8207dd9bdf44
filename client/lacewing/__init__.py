"""Lacewing: typed, versioned, retried, timed out and memoized tasks over gRPC."""
