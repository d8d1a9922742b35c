"""A pod as Kubernetes reports it: what it does or waits for, and how its containers ended."""
