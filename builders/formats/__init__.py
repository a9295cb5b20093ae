"""What files share: JSON records, ids, paths, segmentations, label maps."""
