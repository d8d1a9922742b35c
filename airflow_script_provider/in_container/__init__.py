"""Programs that run inside a container.

They are sent as text, and import nothing of this package.
"""
