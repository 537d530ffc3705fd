"""The grpc.aio service: one chat contract in front of many providers."""
