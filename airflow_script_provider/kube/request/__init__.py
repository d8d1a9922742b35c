"""The author's request, checked and frozen before anything is created."""
