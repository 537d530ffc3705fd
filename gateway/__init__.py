"""The gateway: Envoy, configured by typed Python, in front of the service."""
