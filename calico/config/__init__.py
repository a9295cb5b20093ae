"""Every choice of the model and its training, validated; YAML in and out."""
