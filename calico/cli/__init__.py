"""The commands of CALICO; heavy imports happen inside them."""
