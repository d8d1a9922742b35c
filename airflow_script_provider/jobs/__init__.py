"""The asynchronous half: it launches, follows and deletes Jobs, as ``kube`` decides."""
