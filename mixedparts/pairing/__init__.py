"""Entities to samples: which sets of entities are admissible, and which of them are selected.

The modules in the order in which a build uses them; `mixedparts.pipeline.select` calls them:

1. `admissible` groups the entities of a source (`entity_index.EntityIndex`) and counts the
   admissible pairs (`PairSpace`).
2. `sample_space` gives the admissible samples of one cell, also of three or four images
   (`SampleSpace`).
3. `allocation` divides a number of rows over splits, cells and class pairs (`water_fill`,
   `fill_up`, `proportional`).
4. `balanced_sampler` selects the rows of one cell (`BalancedSampler`). With `--contrast`,
   `contrast_sampler` does, by the definition in `contrast`.
5. `samples` puts the rows of all cells into one array, gives them ids and sorts them.

`lookup` has the array operations that 1 and 4 share, `random_streams` the random numbers of each
cell; both import none of the others.

Words of this package:

- An *entity* is one object class in one image, with the union of its masks.
- An *entity group* is all entities of one class in an index, sorted by their sets of visible parts
  (`EntityGroup`). Entities with equal sets are interchangeable for the rules of pairing.
- A *class pair* is two comparable classes, or one class with itself, in one task (`ClassPair`).
- A *cell* is one task of one source, or of two sources in cross-source samples, in one split. The
  cells of a build get equal numbers of rows where they can.
- The *sample space* of a cell is the set of its admissible samples (`SampleSpace`).
- A *capacity* is the largest number of samples that a class pair, a cell or a split can hold. The
  remaining capacity of an image is its limit minus the number of samples it is in.
- A *limit* is the largest number of samples of one cell that an image may be in. It comes from
  `--per-image-limit` or from the rule of `balanced_sampler`.
"""
