"""Other formats of a build: the published bundle, COCO, WebDataset, self-contained Parquet."""
