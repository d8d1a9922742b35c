"""What the API server answers before a decision stands."""
