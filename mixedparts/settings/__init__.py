"""Choices as dataclasses: each field states once what it may be, and how it is called.

`fields` checks and converts values by the annotated types, `yaml_file` reads files, `options` makes
command-line options. Builds (`mixedparts.pipeline.config`) and CALICO (`calico.config`) share them.
"""
