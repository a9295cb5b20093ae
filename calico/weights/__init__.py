"""Published weights into CALICO: which file holds what, under which names."""
