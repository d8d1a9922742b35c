"""The Script tool's format: a step as that tool's users write it, as arguments of the operator."""
