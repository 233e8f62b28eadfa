"""The recorded experiments: a frozen configuration, a function from it to a table, and a record under ``results/``."""
