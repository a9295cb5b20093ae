"""Import of the authors' bundle: its file layout, its records, and the build made from them."""
