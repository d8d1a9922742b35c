"""Read the Script tool's format and task files into plain data and the operator's arguments."""
