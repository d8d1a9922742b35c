"""What followers have seen of a run: its Job, its pods, and since when."""
