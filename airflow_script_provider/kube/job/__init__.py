"""The Job of a request: its manifest, its progress, its outcome."""
