"""Fetches the wheels that the GPU check needs besides torch and transformers, for a machine without network.

    python scripts/pack_wheels.py DIRECTORY [--python_version 3.12] [--cuda 13.0]

Left out is what torch and transformers bring along, and what the check never calls: matplotlib draws the curves of
whole runs, and scikit-learn comes with seqeval, which scores them. Parts that nothing here calls are cut out of large
wheels. Which packages are needed is found for the Python that runs this, their wheels for the version asked for.
"""

import argparse
import fnmatch
import json
import subprocess
import sys
import zipfile
from pathlib import Path

LIMIT = 64_000_000  # bytes, all wheels together
WANTED = ("accelerate", "bitsandbytes", "datasets", "peft", "psutil", "trl", "pytest", "pytest-timeout", "hatchling")
ALONE = ("seqeval",)  # pure Python, and without what it needs: its version is recorded, but nothing is scored
THERE = ("torch", "transformers")
NEVER_CALLED = {
    "pyarrow": (
        *("pyarrow/include/*", "pyarrow/tests/*", "pyarrow/_flight.*", "pyarrow/libarrow_flight.*"),
        *("pyarrow/_s3fs.*", "pyarrow/libarrow_s3.*"),
        # Copies: a link is a file of its own in a wheel.
        *("pyarrow/libarrow_python.so", "pyarrow/libarrow_python.so.*.*"),
    ),
    "pandas": ("pandas/tests/*",),
}
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(35, 4, -1)] + ["manylinux2014_x86_64"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--python_version", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    parser.add_argument("--cuda", default="13.0", help="torch.version.cuda there")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    if any(arguments.directory.iterdir()):
        sys.exit(f"{arguments.directory} is not empty")
    target = ["--only-binary=:all:", "--python-version", arguments.python_version]
    target += [flag for platform in PLATFORMS for flag in ("--platform", platform)]
    names = sorted(resolve([*WANTED, *THERE], target) - resolve(THERE, target))
    pip("download", "--quiet", "--no-deps", *target, "--dest", str(arguments.directory), *names)
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(arguments.directory), *ALONE)
    for wheel in arguments.directory.glob("*.whl"):
        drop = NEVER_CALLED.get(wheel.name.partition("-")[0], ())
        if wheel.name.startswith("bitsandbytes-"):
            drop = other_libraries(wheel, arguments.cuda)
        cut(wheel, drop)
    check_size(arguments.directory)


def pip(*arguments: str) -> str:
    """What pip prints."""
    return subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, capture_output=True, text=True).stdout


def resolve(requirements: tuple[str, ...] | list[str], target: list[str]) -> set[str]:
    """`name==version` of everything that would be installed on the target."""
    flags = ["--quiet", "--dry-run", "--ignore-installed", "--report", "-", "--target", ".", *target]
    report = pip("install", *flags, *requirements)
    found = [item["metadata"] for item in json.loads(report)["install"]]
    return {f"{item['name']}=={item['version']}" for item in found}


def other_libraries(wheel: Path, cuda: str) -> tuple[str, ...]:
    """The libraries of a bitsandbytes wheel for other CUDA versions, and for other makers' GPUs."""
    kept = f"bitsandbytes/libbitsandbytes_cuda{cuda.replace('.', '')}.so"
    with zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if fnmatch.fnmatch(name, "*/libbitsandbytes_*.so")]
    if kept not in libraries:
        sys.exit(f"--cuda {cuda}: {wheel.name} has none for it, but {', '.join(sorted(libraries))}")
    return tuple(name for name in libraries if name not in (kept, "bitsandbytes/libbitsandbytes_cpu.so"))


def cut(wheel: Path, patterns: tuple[str, ...]) -> None:
    """Take the files that match off a wheel and off its record."""
    if not patterns:
        return
    smaller = wheel.with_suffix(".part")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(smaller, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        dropped = {name for name in old.namelist() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}
        for item in old.infolist():
            if item.filename in dropped:
                continue
            data = old.read(item)
            if item.filename.endswith(".dist-info/RECORD"):
                rows = data.decode().splitlines(keepends=True)
                data = "".join(row for row in rows if row.split(",")[0] not in dropped).encode()
            new.writestr(item, data, zipfile.ZIP_DEFLATED)
    smaller.replace(wheel)


def check_size(directory: Path, limit: int = LIMIT) -> None:
    sizes = {wheel.name: wheel.stat().st_size for wheel in directory.iterdir()}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:7.2f} MB  {name}")
    total = sum(sizes.values())
    print(f"{total / 1e6:7.2f} MB  in all, of {limit / 1e6:.0f}")
    if total > limit:
        sys.exit("too large: it must travel with the repository")


if __name__ == "__main__":
    main()
