"""A script in a running pod: the request, the protocol, the outcome."""
