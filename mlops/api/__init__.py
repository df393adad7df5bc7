"""What answers over HTTP: each application composes pipelines and capabilities, and decides nothing itself."""
