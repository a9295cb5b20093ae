"""What training steps are fed with: parts of batches and images, prepared ahead by workers."""
