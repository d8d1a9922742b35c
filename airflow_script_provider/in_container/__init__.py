"""Programs that run inside the pod, shipped to it as text. They import nothing of this package."""
