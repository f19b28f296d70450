"""Training runs under a folder: a log of experiments, comparisons, and studies."""
