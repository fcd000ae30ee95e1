/** Asks the service for the people in a photo. */

import { read } from "./keypoints.js";

const WORDS = { // where the service's own are not the best for whoever looks at the page
  no_pose_found: "Nobody was found in this photo. Take one that shows somebody clearly, or add a standing person.",
  no_pose_detector: "The service cannot look for people in photos now. Add a standing person instead.",
};

/**
 * `{people, canvas}`, see keypoints.js. Throws an Error whose message is for a person, with the `status` and `code` of
 * the service's error, and AbortError.
 */
export async function findPeople(photo, headers, signal) {
  const body = new FormData();
  body.append("image", photo, "photo");
  let response;
  try {
    response = await fetch("v1/poses", { method: "POST", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service cannot be reached.", { cause: error });
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok || !answer) {
    const { code, message } = answer?.error ?? {};
    const own = message?.replace(/^\w+: /, ""); // the field at fault, which is no word for a person
    const words = WORDS[code] ?? own ?? `The service answered with an error (${response.status}).`;
    throw Object.assign(new Error(words), { status: response.status, code });
  }
  return read(answer.keypoints);
}

/** The photo as a data URL, which needs nobody to revoke it. */
export function asUrl(photo) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The photo cannot be read.", { cause: reader.error }));
    reader.readAsDataURL(photo);
  });
}
