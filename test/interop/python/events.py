"""Reads a TensorBoard event file with TensorBoard's own loader: every scalar by its tag."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(json.load(sys.stdin)["directory"], size_guidance={"scalars": 0})
events.Reload()
json.dump(
    {tag: [[event.step, event.wall_time, event.value] for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]},
    sys.stdout,
)
