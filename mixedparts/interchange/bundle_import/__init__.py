"""The published MixedParts bundle: where its files lie, its records, and a build out of them."""
