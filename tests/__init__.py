"""Tests run side by side. Set before NumPy and torch are imported, here and in child processes:"""

import os

# One thread for NumPy's linear algebra: others spin while they wait for a core, which took 60 times the CPU time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads sleep meanwhile
