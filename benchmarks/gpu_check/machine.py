"""What a check ran on: machine, device, driver and versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.gpu_check.outcome import Report, Setting
from benchmarks.model_stages import matmul_rate
from calico.runtime.device import choose_device

PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")


def machine_facts() -> dict[str, str]:
    """Return the machine and the versions of packages, without touching a GPU."""
    facts = {"machine": _processor(), "system": f"{platform.system()} {platform.release()}"}
    facts["python"] = platform.python_version()
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def _processor() -> str:
    """Name the processor, its cores and the memory."""
    models: list[str] = []
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return f"{cores} cores of {name}, {memory:.0f} GB"


def device(setting: Setting, report: Report) -> None:
    """Name the device and its driver, and compare a matrix product with the CPU's."""
    place = choose_device(setting.device)
    if place.type == "cuda":
        properties = torch.cuda.get_device_properties(place)
        report.figure("device", properties.name)
        report.figure("its memory", properties.total_memory / 1e9, "GB")
        free, _ = torch.cuda.mem_get_info(place)
        report.figure("free of it", free / 1e9, "GB")
        report.figure("compute capability", f"{properties.major}.{properties.minor}")
        report.figure("driver", _driver())
        report.figure("CUDA", str(torch.version.cuda))
        report.figure("cuDNN", str(torch.backends.cudnn.version()))
    else:
        report.figure("device", str(place))
        report.figure("threads", torch.get_num_threads())
    torch.manual_seed(0)
    left, right = torch.randn(2, 256, 256)
    there = (left.to(place) @ right.to(place)).cpu()
    away = float((there - left @ right).abs().max() / 16)  # the products have a deviation of 16
    report.figure("matrix product against the CPU", away, "relative")
    report.require(away < 1e-3, f"a matrix product is {away:.2g} off the CPU's")
    report.figure("matrix product", matmul_rate(place) / 1e12, "TFLOP/s")


def _driver() -> str:
    """Return the version of NVIDIA's driver; unknown where its tool is not there."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines else "unknown"
