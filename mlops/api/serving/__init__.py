"""The service of `mlops serve`: its routes, what a process of it holds, and the processes."""
