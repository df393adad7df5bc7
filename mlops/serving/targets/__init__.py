"""Where a model's service runs: this machine, Docker, Kubernetes, behind one port (`DeploymentTarget`)."""
