"""Cost of a configuration: parameters, operations and memory, computed without weights."""
