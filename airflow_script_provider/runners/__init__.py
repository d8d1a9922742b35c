"""Run a script for the command line: on this machine, in a container, in a pod, as a Job."""
