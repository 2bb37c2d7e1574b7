"""Makes a large folder of files to register: sizes from 1 KiB to 5 MiB, the same bytes for the same seed.

python3 corpus.py FOLDER [--files 5000] [--mean 429496] [--seed 1]      (the defaults give about 2 GiB)
"""

import argparse
import random
from pathlib import Path

KIB = 1024
PER_FOLDER = 250


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--mean", type=int, default=429_496, help="mean size in bytes")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    total = 0
    for at in range(arguments.files):
        # Most files are small, a few are large scans.
        size = min(5 * KIB * KIB, max(KIB, int(rng.expovariate(1 / arguments.mean))))
        folder = arguments.folder / f"akte-{at // PER_FOLDER:03}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"blatt-{at:05}.pdf").write_bytes(rng.randbytes(size))
        total += size
    print(f"{arguments.files} files, {total} bytes")


if __name__ == "__main__":
    main()
