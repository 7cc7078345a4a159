"""Kill commands at random moments, run them again until they end, and compare what they wrote.

python tools/kills.py --kills 100 [--verbs audit,evaluate,filter,svd] [--seed 0]

Each verb runs once without a kill. Then it is started and killed (-9, with all its processes) at random moments
until the kills are used up, going on each time where it was; its files must be whole at every moment and have
the same bytes in the end, but for those that hold times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"
MODEL, PICTURE, SCENES = MODELS / "tiny_scores.onnx", MODELS / "scenes" / "boat_0.png", MODELS / "scenes"
POLICY = """\
models: {{tiny: {{files: [{models}/tiny_scores.onnx, {models}/scenes_resnet_torch.onnx]}}}}
images: {{scenes: {{folder: {models}/scenes, count: 12}}}}
checks:
  proved: {{measure: proofs, pictures: 2}}
  adds up: {{measure: ledger-completeness}}
  gain: {{measure: noise-gain, most: 1.0e+9}}
"""
COMMANDS = {
    "audit": "audit {out}/policy.yaml -o {out}/evidence",
    "evaluate": f"evaluate {MODEL} {SCENES} --method saliency,grad-cam -o {{out}}/found.csv",
    "filter": f"filter {MODEL} --image {PICTURE} -o {{out}}/found.npy",
    "svd": f"svd {MODEL} --image {PICTURE} -k 4 -o {{out}}/found",
}
TIMES = ("audit.times.json",)  # differ from run to run


def start(verb: str, out: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-c",
        "from onnxscope.cli.main import main; main()",
        *COMMANDS[verb].format(out=out).split(),
    ]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def prepared(folder: Path) -> Path:
    folder.mkdir()
    (folder / "policy.yaml").write_text(POLICY.format(models=MODELS), encoding="utf-8")
    return folder


def contents(out: Path) -> dict[str, object]:
    """What the finished files hold: of archives their arrays, without the facts that hold times."""
    found: dict[str, object] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file() and p.name not in TIMES and p.name[0] != "."):
        if path.suffix == ".npz":
            with np.load(path) as saved:
                found[path.name] = {k: saved[k].tobytes() for k in saved if k != "about"}
        else:
            found[path.name] = path.read_bytes()
    return found


def torn(out: Path) -> list[str]:
    """Finished files that cannot be read: those under temporary names are not finished."""
    wrong = []
    for path in (p for p in out.rglob("*") if p.is_file() and not p.name.startswith(".")):
        try:
            if path.suffix == ".npz":
                assert zipfile.ZipFile(path).testzip() is None
            elif path.suffix == ".npy":
                np.load(path)
            elif path.suffix == ".json" and not path.name.endswith(".part.json"):
                json.loads(path.read_bytes())
        except Exception as error:
            wrong.append(f"{path.name}: {error!r}")
    return wrong


def kill_at_random(verb: str, work: Path, kills: int, rng: random.Random) -> dict[str, object]:
    whole = prepared(work / f"{verb}-whole")
    began = time.monotonic()
    process = start(verb, whole)
    said = process.communicate()[1].decode()
    if process.returncode not in (0, 1):
        raise SystemExit(f"{verb} fails by itself: {said}")
    seconds, wanted = time.monotonic() - began, contents(whole)
    done, rounds, problems = 0, 0, list[str]()
    while done < kills:
        rounds += 1
        out = prepared(work / f"{verb}-{rounds}")
        while True:
            process = start(verb, out)
            try:
                process.wait(rng.uniform(0, 1.1) * seconds if done < kills else None)
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                done += 1
                problems += torn(out)
        said = process.stderr.read().decode() if process.stderr else ""
        finished = process.returncode in (0, 1) or "already exists" in said  # killed when all was written
        if not finished:
            problems.append(f"exit code {process.returncode}: {said}")
        found = contents(out)
        problems += [
            f"{name} differs" for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)
        ]
        shutil.rmtree(out)
    return {
        "verb": verb,
        "kills": done,
        "runs that ended": rounds,
        "seconds of a run": round(seconds, 1),
        "problems": problems,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="in all, spread evenly over the verbs")
    parser.add_argument("--verbs", default=",".join(COMMANDS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    verbs, rng = given.verbs.split(","), random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="onnxscope-kills-") as folder:
        results = [kill_at_random(v, Path(folder), -(-given.kills // len(verbs)), rng) for v in verbs]
    for found in results:
        print(json.dumps(found))
    sys.exit(any(found["problems"] for found in results))


if __name__ == "__main__":
    main()
