"""Networks of the shapes of DWPose's two, whose answers are known: they stand for the real ones, of 350 MB.

The one of people answers with the boxes it is built for, coded as YOLOX codes them. The one of joints looks at its
input: it finds each joint where the picture has that joint's colour.
"""

from __future__ import annotations

import math
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

JOINTS = 133
SIDE, STRIDES = 640, (8, 16, 32)
WIDTH, HEIGHT = 288, 384
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

# A colour for each joint, far from each other; one channel is full, so that none is a mixture of another and black.
COLOURS = tuple(islice((each for each in product(range(255, -1, -36), repeat=3) if max(each) == 255), JOINTS))
assert len(COLOURS) == JOINTS


Box = tuple[float, float, float, float]  # left, top, right, bottom, of the network's input


def save_people(path: Path, found: list[tuple[Box, int, float]]) -> None:
    """`found`: boxes, with their classes of COCO's 80 and scores."""
    cells = [(x, y, stride) for stride in STRIDES for y in range(SIDE // stride) for x in range(SIDE // stride)]
    raw = np.zeros((1, len(cells), 85), np.float32)
    for place, ((left, top, right, bottom), kind, score) in enumerate(found):
        centre = (left + right) / 2, (top + bottom) / 2
        stride = STRIDES[place % len(STRIDES)]
        cell = centre[0] // stride, centre[1] // stride
        row = raw[0, cells.index((int(cell[0]), int(cell[1]), stride))]
        row[0:2] = centre[0] / stride - cell[0], centre[1] / stride - cell[1]
        row[2:4] = math.log((right - left) / stride), math.log((bottom - top) / stride)
        row[4], row[5 + kind] = 1.0, score
    _save(
        path,
        [("input", [1, 3, SIDE, SIDE])],
        [("output", [1, len(cells), 85])],
        {"raw": raw, "zero": np.zeros(1, np.float32)},
        [("ReduceSum", ["input"], "sum", {"keepdims": 0}), ("Mul", ["sum", "zero"], "nothing", {}),
         ("Add", ["raw", "nothing"], "output", {})],
    )  # fmt: skip


def save_joints(path: Path) -> None:
    """Scores are 1 where a pixel has the joint's colour, and below 0 at any other joint's."""
    colours = np.array(COLOURS, np.float32)
    scale = 1 / 36**2
    constants = {
        "mean": np.array(MEAN, np.float32).reshape(1, 3, 1, 1),
        "deviation": np.array(DEVIATION, np.float32).reshape(1, 3, 1, 1),
        "kernel": (2 * colours)[:, :, None, None],
        "offset": -(colours**2).sum(axis=1),
        "scale": np.array(2 * scale, np.float32),
        "one": np.array(1, np.float32),
        "channels": np.array([1]),
        "twice x": np.array([1, 1, 2], np.float32),
    }
    nodes = [
        ("Mul", ["input", "deviation"], "scaled", {}),
        ("Add", ["scaled", "mean"], "rgb", {}),
        ("Mul", ["rgb", "rgb"], "squares", {}),
        ("ReduceSum", ["squares", "channels"], "length", {"keepdims": 1}),
        ("Conv", ["rgb", "kernel", "offset"], "product", {}),
        ("Sub", ["product", "length"], "closeness", {}),  # minus the squared distance
        ("Mul", ["closeness", "scale"], "scaled closeness", {}),
        ("Add", ["scaled closeness", "one"], "score", {}),
        ("ReduceMax", ["score"], "across", {"axes": [2], "keepdims": 0}),
        ("ReduceMax", ["score"], "down", {"axes": [3], "keepdims": 0}),
        ("Resize", ["across", "", "twice x"], "simcc_x", {"mode": "nearest"}),
        ("Resize", ["down", "", "twice x"], "simcc_y", {"mode": "nearest"}),
    ]
    outputs = [("simcc_x", [1, JOINTS, 2 * WIDTH]), ("simcc_y", [1, JOINTS, 2 * HEIGHT])]
    _save(path, [("input", ["batch", 3, HEIGHT, WIDTH])], outputs, constants, nodes)


def _save(
    path: Path,
    inputs: list[tuple[str, list[Any]]],
    outputs: list[tuple[str, list[Any]]],
    constants: dict[str, Any],
    nodes: list[tuple[str, list[str], str, dict[str, Any]]],
) -> None:
    graph = helper.make_graph(
        [helper.make_node(kind, takes, [gives], **options) for kind, takes, gives, options in nodes],
        "network",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
