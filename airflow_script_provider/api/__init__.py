"""The client of the Kubernetes API: sessions, calls, watches, websockets, over plain dicts."""
