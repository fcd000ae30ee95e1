/**
 * What a skeleton is: OpenPose's joints, limbs and colours, as deployments/pose/skeleton.py draws them, and a figure
 * that stands. Pure. Left and right are the person's own; a test holds the tables to those of the server.
 */

export const JOINTS = [
  "nose", "neck",
  "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
  "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
  "right eye", "left eye", "right ear", "left ear",
];
export const LIMBS = [ // pairs of joints, the one nearer to the neck first, in the order of drawing
  [1, 2], [1, 5], [2, 3], [3, 4], [5, 6], [6, 7],
  [1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13],
  [1, 0], [0, 14], [14, 16], [0, 15], [15, 17],
];
export const BONES = [1, 5, 9, 13, 17].flatMap((root) => [
  [0, root], [root, root + 1], [root + 1, root + 2], [root + 2, root + 3],
]); // of a hand, from the wrist to the tips
export const HAND_JOINTS = 21;
export const HANDS = { left: 7, right: 4 }; // and the wrists that they hang on

/** So many colours from once around the circle of hues, each channel 0 … 255. */
function hues(count) {
  return Array.from({ length: count }, (_, place) => [5, 3, 1].map((shift) => {
    const turn = (shift + (6 * place) / count) % 6;
    return 255 * (1 - Math.max(0, Math.min(turn, 4 - turn, 1)));
  }));
}

export const JOINT_COLOURS = hues(JOINTS.length).map((colour) => colour.map(Math.round));
export const LIMB_COLOURS = LIMBS.map((_, index) => JOINT_COLOURS[index].map((value) => Math.floor(value * 0.6)));
export const BONE_COLOURS = hues(BONES.length).map((colour) => colour.map(Math.round));
export const HAND_JOINT_COLOUR = [0, 0, 255];

/** In heights of the figure: from its middle to the right, and from the top of its head down. */
const HALF_A_FIGURE = [
  [0, 0.09], [0, 0.2],
  [-0.11, 0.205], [-0.145, 0.365], [-0.165, 0.51], null, null, null,
  [-0.065, 0.51], [-0.075, 0.74], [-0.08, 0.96], null, null, null,
  [-0.022, 0.068], null, [-0.048, 0.08], null,
];
export const FIGURE = HALF_A_FIGURE.map((point, joint) => {
  const [x, y] = point ?? HALF_A_FIGURE[otherSide(joint)];
  return { x: point ? x : -x, y };
});
export const FIGURES_WIDTH = 0.4;

/** A person who stands in a picture of this size, `middle` (0 … 1) of the width from its left edge. */
export function standing(size, middle = 0.5) {
  const height = Math.min(0.96 * size.height, size.width / FIGURES_WIDTH);
  const reach = (FIGURES_WIDTH * height) / 2;
  const centre = Math.min(Math.max(middle * size.width, reach), size.width - reach);
  const top = (size.height - height) / 2;
  return { body: FIGURE.map(({ x, y }) => ({ x: centre + x * height, y: top + y * height })), left: [], right: [] };
}

/** The same joint of the body's other side; the nose and the neck are their own. */
export function otherSide(joint) {
  const [side, ...name] = JOINTS[joint].split(" ");
  const other = { left: "right", right: "left" }[side];
  return other ? JOINTS.indexOf([other, ...name].join(" ")) : joint;
}

/** The joint and all that are farther from the neck. */
export function from(joint) {
  return [joint, ...LIMBS.filter(([start]) => start === joint).flatMap(([, end]) => from(end))];
}

/** The next joint on the way to the neck, which itself has none. */
export function towardsNeck(joint) {
  return LIMBS.find(([, end]) => end === joint)?.[0];
}
