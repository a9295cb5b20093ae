"""Parts of `calico-eval`: tables of scores, the report, and the comparison of evaluations."""
