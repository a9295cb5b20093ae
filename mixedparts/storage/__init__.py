"""Tables and shards on disk, and the one reader of a build folder."""
