"""What texts tell of a cause: signs of it, messages of Kubernetes, and a script's own error."""
