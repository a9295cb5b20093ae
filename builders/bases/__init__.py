"""What readers of one kind share: accounting, shards, descriptions."""
