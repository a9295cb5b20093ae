"""What a configuration costs, counted on tensors without memory: no weights are needed."""
