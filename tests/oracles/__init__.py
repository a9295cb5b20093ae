"""Second computations of results, with which tests compare: plain loops or other libraries."""
