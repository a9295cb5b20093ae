"""All checks in the order in which they run, with the time that each may take."""

from __future__ import annotations

from benchmarks.gpu_check import large_model, machine, small_model
from benchmarks.gpu_check.outcome import Check

# `seconds` end a check that hangs; together they may exceed the eight minutes, because a check that
# works takes a part of them. A check is not begun with less than `least` seconds left.
CHECKS = (
    Check("device", "the device", machine.device, 60, 10),
    Check("prepare", "sources, dataset, pretraining", small_model.prepare, 90, 20, ("device",)),
    Check("fp32", "{tiny}, fp32, 50 steps", small_model.fp32, 90, 20, ("prepare",)),
    Check("bf16", "{tiny}, bf16, 50 steps", small_model.bf16, 60, 15, ("fp32",)),
    Check("answers", "{tiny}, answers as on the CPU", small_model.answers, 60, 15, ("fp32",)),
    Check("resume", "{tiny}, killed and resumed", small_model.resumed, 90, 30, ("prepare",)),
    Check("large", "{large}, random weights", large_model.large, 150, 60, ("device",)),
    Check("fsdp", "{tiny}, FSDP2, one rank", small_model.fsdp, 60, 15, ("prepare",)),
    Check("nf4", "{large}, LoRA on 4 bits", large_model.quantized, 120, 45, ("device",)),
    Check("feeding", "{tiny}, images encoded in steps", small_model.feeding, 60, 20, ("prepare",)),
)
