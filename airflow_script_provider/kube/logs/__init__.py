"""Bytes of a pod's log as lines, and the output that the result keeps."""
