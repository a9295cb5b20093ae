"""One prepared check of everything that runs on a GPU, of at most eight minutes.

`python -m benchmarks.gpu_check` (or `make gpu-check`) trains the tiny preset in fp32 and bf16,
kills and resumes a run, compares answers with the CPU's, shards with FSDP2, trains in 4 bits, and
runs the 7B model with random weights. Each check has a process and a time of its own.
"""
