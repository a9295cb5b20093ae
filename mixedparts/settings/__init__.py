"""Configurations as dataclasses whose fields state their type, range, option and help text once.

`fields` checks and converts values by the annotated types, `yaml_file` reads files, `options` makes
command-line options. Builds (`mixedparts.pipeline.config`) and CALICO (`calico.config`) share them.
"""
