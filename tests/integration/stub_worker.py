"""A worker process without torch, for tests of the coordinator: `python stub_worker.py DATA_ROOT`.

The scheduler's name in a request names the behaviour, such as "dies".
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Serve requests."""
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        if "preflight" in request:
            _act(request["preflight"][0]["scheduler"]["name"], folder)
            _answer(log="ready")
            _answer(device={"device": "cpu", "gpus": 0, "cores": 1, "bfloat16": False})
        else:
            _answer(progress={"epoch": 0.5, "lr": 0.1, "accuracy": None, "points": {}})
            _act(request["train"]["scheduler"]["name"], folder)
            if request["monitored"]:
                _answer(evaluated=[1, 0.5])
                json.loads(sys.stdin.readline())
            result = json.loads((folder / "result.json").read_text())
            _answer(result={**result, "spec": request["train"]})


def _act(name: str, folder: Path) -> None:
    if name == "dies":
        os._exit(7)
    elif name == "dies once" and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(7)
    elif name == "half a line":
        os.write(1, b'{"result": ')
        os._exit(7)
    elif name == "ends late":
        os.close(1)
        time.sleep(0.3)
        os._exit(7)
    elif name == "closes its output":
        os.close(1)
        time.sleep(60)
    elif name == "is silent":
        time.sleep(60)
    elif name == "names its GPUs":
        _answer(log=os.environ["CUDA_VISIBLE_DEVICES"])
    elif name == "leaves a child":
        child = subprocess.Popen(["sleep", "60"])
        (folder / "child").write_text(str(child.pid))
        os._exit(7)


def _answer(**message: object) -> None:
    os.write(1, f"{json.dumps(message)}\n".encode())


if __name__ == "__main__":
    main()
