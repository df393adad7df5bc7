"""A/B statistics, one concept a module; `mlops.experiments.ab_test.ABTestFramework` is their face."""
