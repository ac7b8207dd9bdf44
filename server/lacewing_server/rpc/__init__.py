"""gRPC: servicers translate requests and answers; every refusal becomes a status in one place."""
