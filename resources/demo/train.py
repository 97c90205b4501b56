"""Learns to tell three species of penguins apart by four measurements.

Needs nothing but Python's standard library: a network with one hidden layer, written out. It logs every epoch,
reports loss and accuracy to the cluster it runs on, and leaves the model in the output folder.
"""

import argparse
import csv
import json
import math
import os
import ssl
import time
import urllib.request
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path

FEATURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
HIDDEN = 8


def settings():
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=int(env("EPOCHS", "50")))
    parser.add_argument("--epoch-seconds", type=float, default=float(env("EPOCH_SECONDS", "0.2")),
                        help="shortest time of an epoch, so that there is something to watch")
    parser.add_argument("--learning-rate", type=float, default=float(env("LEARNING_RATE", "0.0006")))
    parser.add_argument("--seed", type=int, default=int(env("SEED", "3")))
    parser.add_argument("--output", type=Path, default=Path(env("SUBMARINE_OUTPUT", "/output")))
    return parser.parse_args()


def seeded(seed):
    """Mulberry32: the same numbers from the same seed, in train.mjs too."""
    state = seed & 0xFFFFFFFF

    def draw():
        nonlocal state
        state = (state + 0x6D2B79F5) & 0xFFFFFFFF
        t = ((state ^ state >> 15) * (1 | state)) & 0xFFFFFFFF
        t = ((t + ((t ^ t >> 7) * (61 | t))) & 0xFFFFFFFF) ^ t
        return (t ^ t >> 14) / 2**32

    return draw


def shuffle(items, draw):
    for last in range(len(items) - 1, 0, -1):
        other = int(draw() * (last + 1))
        items[last], items[other] = items[other], items[last]


def load(draw):
    """The penguins as (measurements, species), shuffled, and split four to one."""
    with open(Path(__file__).parent / "penguins.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row[name] not in ("", "NA") for name in FEATURES)]
    species = sorted({row["species"] for row in rows})
    penguins = [([float(row[name]) for name in FEATURES], species.index(row["species"])) for row in rows]
    shuffle(penguins, draw)
    cut = len(penguins) * 4 // 5
    return species, penguins[:cut], penguins[cut:]


def scale_of(penguins):
    """Mean and deviation of each measurement."""
    columns = list(zip(*(x for x, _ in penguins)))
    mean = [sum(column) / len(column) for column in columns]
    deviation = [math.sqrt(sum((v - m) ** 2 for v in column) / len(column)) for column, m in zip(columns, mean)]
    return mean, deviation


def scaled(penguins, mean, deviation):
    return [([(v - m) / d for v, m, d in zip(x, mean, deviation)], y) for x, y in penguins]


class Network:
    def __init__(self, inputs, hidden, outputs, draw):
        # The last weight of each row is its bias.
        self.first = [[draw() - 0.5 for _ in range(inputs + 1)] for _ in range(hidden)]
        self.second = [[draw() - 0.5 for _ in range(hidden + 1)] for _ in range(outputs)]

    def run(self, x):
        """The hidden layer's values, and the probability of each species."""
        hidden = [math.tanh(row[-1] + sum(w * v for w, v in zip(row, x))) for row in self.first]
        scores = [row[-1] + sum(w * v for w, v in zip(row, hidden)) for row in self.second]
        highest = max(scores)
        powers = [math.exp(score - highest) for score in scores]
        total = sum(powers)
        return hidden, [power / total for power in powers]

    def learn(self, x, y, rate):
        """One step down the gradient of the cross entropy, which it returns."""
        hidden, probabilities = self.run(x)
        errors = [p - (k == y) for k, p in enumerate(probabilities)]
        back = [(1 - h * h) * sum(e * row[j] for e, row in zip(errors, self.second)) for j, h in enumerate(hidden)]
        for rows, deltas, values in ((self.second, errors, hidden), (self.first, back, x)):
            for row, delta in zip(rows, deltas):
                for j, value in enumerate(values):
                    row[j] -= rate * delta * value
                row[-1] -= rate * delta
        return -math.log(max(probabilities[y], 1e-12))

    def accuracy(self, penguins):
        right = sum(1 for x, y in penguins if max(range(3), key=self.run(x)[1].__getitem__) == y)
        return right / len(penguins)


class Reporter:
    """Sends metrics to the cluster. Training never fails for it: what cannot be sent now goes with the next."""

    def __init__(self):
        api, experiment = os.environ.get("SUBMARINE_API"), os.environ.get("SUBMARINE_EXPERIMENT_ID")
        self.url = f"{api.rstrip('/')}/api/v2/experiments/{experiment}/metrics" if api and experiment else None
        self.headers = {"Content-Type": "application/json"}
        if token := os.environ.get("SUBMARINE_TOKEN"):
            self.headers["Authorization"] = f"Bearer {token}"
        self.waiting = []
        self.next_try = 0.0
        self.complained = False

    def add(self, step, **values):
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.waiting += [{"key": key, "value": value, "step": step, "time": now} for key, value in values.items()]
        if time.monotonic() >= self.next_try:
            self.send()

    def send(self):
        if self.url is None or not self.waiting:
            return
        body = json.dumps({"points": self.waiting}).encode()
        try:
            # The cluster is near: no proxy, and trust in its own certificate authority.
            context = ssl.create_default_context(cafile=os.environ.get("SUBMARINE_CA") or None)
            handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            request = urllib.request.Request(self.url, data=body, headers=self.headers, method="POST")
            urllib.request.build_opener(*handlers).open(request, timeout=3).close()
            self.waiting = []
        except (OSError, ValueError, HTTPException) as error:
            self.next_try = time.monotonic() + 2
            if not self.complained:
                print(f"Metrics cannot be reported to {self.url}: {error}. Training goes on.", flush=True)
                self.complained = True


def main():
    options = settings()
    draw = seeded(options.seed)
    species, training, unseen = load(draw)
    mean, deviation = scale_of(training)
    training, unseen = scaled(training, mean, deviation), scaled(unseen, mean, deviation)
    network = Network(len(FEATURES), HIDDEN, len(species), draw)
    reporter = Reporter()
    task = os.environ.get("SUBMARINE_TASK", "0")
    print(f"task {task}: {len(training)} penguins to learn from, {len(unseen)} to be tested on", flush=True)

    loss = accuracy = 0.0
    for epoch in range(1, options.epochs + 1):
        started = time.monotonic()
        shuffle(training, draw)
        loss = sum(network.learn(x, y, options.learning_rate) for x, y in training) / len(training)
        accuracy = network.accuracy(unseen)
        print(f"epoch {epoch:3}/{options.epochs}  loss {loss:.4f}  accuracy {accuracy:.4f}", flush=True)
        reporter.add(epoch, loss=loss, accuracy=accuracy)
        time.sleep(max(0.0, options.epoch_seconds - (time.monotonic() - started)))
    reporter.send()

    options.output.mkdir(parents=True, exist_ok=True)
    model = {"species": species, "features": FEATURES, "mean": mean, "deviation": deviation,
             "first": network.first, "second": network.second}
    metrics = {"epochs": options.epochs, "loss": loss, "accuracy": accuracy}
    (options.output / "model.json").write_text(json.dumps(model, indent=2) + "\n")
    (options.output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"accuracy {accuracy:.4f} on penguins it had not seen", flush=True)


if __name__ == "__main__":
    main()
