"""Elements that several file formats share: JSON records, ids, paths, masks, label maps."""
