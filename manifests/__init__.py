"""What is known about each source, as YAML: classes, names, comparable groups, profiles."""
