"""Sums up a run: the last step of the example study. Arguments: KEY=VALUE pairs. Standard output is one JSON document."""

import json
import sys

pairs = dict(argument.split("=", 1) for argument in sys.argv[1:])
print(json.dumps({"summary": pairs, "outputs": {"text": ", ".join(f"{key} {value}" for key, value in pairs.items())}}))
