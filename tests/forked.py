"""Loaded once, by the server whose forks are the processes of `tests.processes`: a scan is warm."""

import numpy as np
import torch
import torch.distributed.fsdp
import torch.distributed.tensor

import weibnb as wb

torch.set_num_threads(1)  # threads of a pool would not live in forks
for _dtype in (np.float16, np.float32):
    _weights = np.random.default_rng(0).normal(size=(40, 24)).astype(_dtype)
    wb.scan({"m": {"model.layers.0.mlp.up_proj.weight": _weights}}, device="cpu", progress=False)
