"""Images per second of `pretrain` in one process and in two, each with one thread, in turns; and the ratio.

The figures are those that the program logs (`train/images_per_s`), the median of the steps after the first of a turn.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

import mlflow

from benchmarks.loop import make_images
from benchmarks.runs import sslmlflow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["simclr"])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SSLMLFLOW_HOME": f"{folder}/home", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        images = Path(folder) / "images"
        images.mkdir()
        make_images(images, arguments.steps * arguments.batch_size * 10 // 9 + 10)  # a tenth is held out
        for method in arguments.methods:
            speeds: dict[int, list[float]] = {1: [], 2: []}
            for seed in range(arguments.turns):
                for processes in speeds:
                    speeds[processes] += turn(method, str(images), seed, processes, arguments)
            one, two = (statistics.median(found) for found in speeds.values())
            rows.append({"method": method, "one": one, "two": two, "ratio": two / one})
            print(f"{method:14} one {one:6.0f} images/s, two {two:6.0f} images/s, ratio {two / one:.2f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


def turn(method: str, images: str, seed: int, processes: int, arguments: argparse.Namespace) -> list[float]:
    sslmlflow(
        *("pretrain", f"--method={method}", "--dataset=folder", f"--data_dir={images}", f"--seed={seed}"),
        *(f"--width={arguments.width}", f"--batch_size={arguments.batch_size}", "--epochs=1", "--milestone_every=9"),
        *(f"--processes={processes}", "--monitor_images=40", "--precision=float32"),
    )
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"], order_by=["start_time DESC"], max_results=1)
    return [point.value for point in client.get_metric_history(run.info.run_id, "train/images_per_s") if point.step > 1]


if __name__ == "__main__":
    main()
