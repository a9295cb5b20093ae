"""What describes a build: dataset card, Croissant metadata, summary tables."""
