"""Pure rules: no I/O, no clock, no gRPC, no Redis."""
