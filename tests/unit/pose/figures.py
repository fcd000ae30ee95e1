"""Flat figures whose joints are known exactly, and which a detector of people takes for people."""

from __future__ import annotations

from PIL import Image, ImageDraw

from deployments.pose.skeleton import JOINTS

SKIN, SHIRT, TROUSERS, SHOES, HAIR = (224, 172, 136), (40, 90, 170), (60, 60, 70), (30, 20, 20), (70, 45, 25)

# Joints of somebody who stands and looks at us, of a picture of 1 × 1; their right is on our left.
STANDING = {
    "nose": (0.5, 0.185),
    "neck": (0.5, 0.29),
    "right shoulder": (0.43, 0.29),
    "right elbow": (0.40, 0.42),
    "right wrist": (0.39, 0.54),
    "left shoulder": (0.57, 0.29),
    "left elbow": (0.60, 0.42),
    "left wrist": (0.61, 0.54),
    "right hip": (0.455, 0.55),
    "right knee": (0.45, 0.71),
    "right ankle": (0.445, 0.87),
    "left hip": (0.545, 0.55),
    "left knee": (0.55, 0.71),
    "left ankle": (0.555, 0.87),
    "right eye": (0.483, 0.165),
    "left eye": (0.517, 0.165),
    "right ear": (0.455, 0.175),
    "left ear": (0.545, 0.175),
}
RIGHT_ARM_UP = {**STANDING, "right elbow": (0.345, 0.25), "right wrist": (0.33, 0.13)}
LEFT_LEG_OUT = {**STANDING, "left knee": (0.64, 0.69), "left ankle": (0.71, 0.83)}

Pose = dict[str, tuple[float, float]]


def placed(pose: Pose, scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> Pose:
    return {joint: (x + scale * at[0], y + scale * at[1]) for joint, at in pose.items()}


def mirrored(pose: Pose) -> Pose:
    """The same pose with left and right changed, as in a mirror."""
    swap = {"left": "right", "right": "left"}
    return {" ".join(swap.get(word, word) for word in joint.split()): (1 - x, y) for joint, (x, y) in pose.items()}


def figure(*poses: Pose, width: int = 512, height: int = 512) -> Image.Image:
    """Everybody drawn on a plain background; coordinates are fractions of `height`."""
    picture = Image.new("RGB", (width, height), (205, 212, 205))
    for pose in poses:
        _draw(ImageDraw.Draw(picture), {joint: (x * height, y * height) for joint, (x, y) in pose.items()})
    return picture


def body(pose: Pose) -> tuple[tuple[float, float], ...]:
    return tuple(pose[joint] for joint in JOINTS)


def _draw(pen: ImageDraw.ImageDraw, at: Pose) -> None:
    unit = (at["left hip"][1] - at["left shoulder"][1]) / 26  # a hundredth of the picture, for a figure of full size

    def limb(*joints: str, width: float, colour: tuple[int, int, int]) -> None:
        pen.line([at[joint] for joint in joints], fill=colour, width=round(width * unit), joint="curve")
        for joint in joints:
            ball(at[joint], width / 2, width / 2, colour)

    def ball(centre: tuple[float, float], wide: float, high: float, colour: tuple[int, int, int]) -> None:
        x, y, wide, high = *centre, wide * unit, high * unit
        pen.ellipse((x - wide, y - high, x + wide, y + high), fill=colour)

    for side, outwards in (("right", -1), ("left", 1)):
        limb(f"{side} hip", f"{side} knee", f"{side} ankle", width=7, colour=TROUSERS)
        x, y = at[f"{side} ankle"]
        ball((x + outwards * 1.5 * unit, y + 3 * unit), 4.5, 2.2, SHOES)
    pen.polygon([at[f"{where}"] for where in ("right shoulder", "left shoulder", "left hip", "right hip")], fill=SHIRT)
    limb("right shoulder", "left shoulder", width=6, colour=SHIRT)
    limb("right hip", "left hip", width=6, colour=TROUSERS)
    for side in ("right", "left"):
        limb(f"{side} shoulder", f"{side} elbow", width=6, colour=SHIRT)
        limb(f"{side} elbow", f"{side} wrist", width=4.5, colour=SKIN)
        (x, y), (elbow_x, elbow_y) = at[f"{side} wrist"], at[f"{side} elbow"]
        ball((x + (x - elbow_x) * 0.2, y + (y - elbow_y) * 0.2), 2.6, 3.2, SKIN)
    x, y = at["nose"]
    limb("neck", "nose", width=5, colour=SKIN)
    ball((x, y - 4 * unit), 6, 6.5, HAIR)
    ball((x, y - unit), 5, 7.5, SKIN)
    for side in ("right", "left"):
        ball(at[f"{side} ear"], 1, 1.8, SKIN)
        ball(at[f"{side} eye"], 1.1, 0.7, (250, 250, 250))
        ball(at[f"{side} eye"], 0.6, 0.6, (40, 30, 20))
    ball((x, y + 0.4 * unit), 0.9, 0.9, (190, 130, 100))
    ball((x, y + 3.5 * unit), 2, 0.6, (170, 70, 70))
