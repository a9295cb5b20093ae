"""Image records to entities, and the tables that hold them.

An entity is one object class in one image, with the union of that class's masks.

- `normalise` unites the masks of a record by canonical names and applies the size filters.
- `table` stores entities as an Arrow file and gives vectorised access to them.
"""
