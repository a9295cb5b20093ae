"""The engine `ray`: tasks of a build on a Ray cluster."""
