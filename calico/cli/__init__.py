"""The commands of CALICO; heavy imports are inside their functions, so that --help is fast."""
