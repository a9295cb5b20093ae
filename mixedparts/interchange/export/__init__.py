"""Export of a build: the authors' bundle, COCO, WebDataset and self-contained Parquet."""
