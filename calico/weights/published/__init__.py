"""What published files carry besides tensors: their config.json, wrappers, the variant of a SAM."""
