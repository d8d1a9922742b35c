"""Where the command line runs a script: one module for each place."""
