"""The recorded experiments, one module each."""
