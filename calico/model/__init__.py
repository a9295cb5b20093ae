"""CALICO's modules: each takes built parts; `calico.model.assembly` builds them from a config."""
