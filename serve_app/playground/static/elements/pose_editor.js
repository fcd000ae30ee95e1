/** Stands in for the editor until it is there: a figure that nobody sees. */

customElements.define(
  "pose-editor",
  class extends HTMLElement {
    size = null;
    pose = null;

    async find() {
      this.standing();
    }

    standing() {
      const joints = [[128, 50], [128, 80], [105, 80], [95, 115], [90, 150], [151, 80], [161, 115], [166, 150], [113, 150]];
      joints.push([110, 195], [108, 240], [143, 150], [146, 195], [148, 240], [122, 44], [134, 44], [115, 48], [141, 48]);
      const pose_keypoints_2d = joints.flatMap(([x, y]) => [x, y, 1]);
      this.pose = { people: [{ pose_keypoints_2d }], canvas_width: 256, canvas_height: 256 };
      this.dispatchEvent(new Event("change"));
    }
  },
);
