"""The places where the command line runs a script: this machine, a container, a running pod, a Job."""
