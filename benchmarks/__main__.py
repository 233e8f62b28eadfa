"""Run every benchmark in turn: ``python -m benchmarks`` (or ``make benchmarks``)."""

import importlib
import pkgutil
import sys

import benchmarks

if __name__ == "__main__":
    arguments = sys.argv[1:]
    for module in sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__) if info.name != "__main__"):
        print(f"== benchmarks.{module}", flush=True)
        sys.argv = [module, *arguments]
        importlib.import_module(f"benchmarks.{module}").main()
