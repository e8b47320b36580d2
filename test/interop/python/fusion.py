"""Reads {"program": encoded program} and writes {"ops": [...]}: what the torch engine runs of it."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "src" / "engines" / "torch"))

from fusion import fuse_attention

request = json.load(sys.stdin)
json.dump({"ops": [instruction["op"] for instruction, _ in fuse_attention(json.loads(request["program"]))]}, sys.stdout)
