"""Published weights for CALICO: reading files, recognising layouts, matching names."""
