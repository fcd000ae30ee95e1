/**
 * What went wrong, in plain words, and what a person can do about it. No DOM.
 */

/** @typedef {{status: number, code: string, message: string, param: string | null,
 *             retryAfter: number | null}} Failure - a status of 0: nobody answered */
/** @typedef {{title: string, text: string, action: "key" | "retry" | "fix" | "none", wait: number}} Advice */

/** A failure that can be thrown. */
export class ServiceError extends Error {
  /** @param {Failure} failure */
  constructor(failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/** @type {Record<string, [string, string?]>} title, and text where the service's own words are not the best */
const BY_CODE = {
  unreachable: ["No answer", "The service cannot be reached. Is it running, and are you online?"],
  interrupted: [
    "The connection was lost",
    "The picture was not finished. Ask again; the same seed makes the same picture.",
  ],
  rate_limit_exceeded: ["Your key has what it may have for now"],
  model_not_allowed: ["This key is not for this model"],
  server_is_overloaded: ["The model is busy", "Too many pictures are wanted right now to promise yours in time."],
  model_loading: ["The model is still loading", "It will take requests in a moment."],
  replica_lost: ["The model had to start anew", "What it was doing was lost. Ask again in a moment."],
  ingress_unavailable: ["The service is starting or stopping", "Ask again in a moment."],
  no_pose_found: [
    "Nobody was found in the photo",
    "Take one that shows a whole person, or begin with the standing figure.",
  ],
  no_pose_detector: ["Photos cannot be read for poses now", "Begin with the standing figure instead."],
  too_large: ["Too large"],
  prompt_too_long: ["The prompt is too long for this model"],
  invalid_image: ["This picture cannot be read", "PNG, JPEG and WebP files are."],
  unsupported_capability: ["This model does not do that"],
  model_not_found: ["This model is not there any more", "Choose another one."],
  out_of_memory: ["Too large for the device", "Ask for a smaller size."],
  deadline_exceeded: ["It took too long", "Ask for fewer steps or a smaller picture, or try again later."],
};

/** @param {Failure} failure @returns {Advice} */
export function adviceFor(failure) {
  const [title, text] = BY_CODE[failure.code] ?? [generalTitle(failure.status)];
  return {
    title: failure.status === 401 ? "A key is needed" : title,
    text: text ?? failure.message,
    action: actionFor(failure),
    wait: failure.retryAfter ?? 0,
  };
}

/** @param {Failure} failure @returns {Advice["action"]} */
function actionFor({ status, param }) {
  if (status === 401) return "key";
  if ([0, 429, 500, 502, 503, 504].includes(status)) return "retry";
  return param ? "fix" : "none";
}

function generalTitle(status) {
  if (status === 401) return "A key is needed";
  return status >= 500 ? "The service failed" : "This cannot be made";
}

/**
 * The failure that an answer is.
 *
 * @param {number} status
 * @param {string} body - JSON as the service's, or anything that a proxy may say
 * @param {string | null} retryAfter - the header
 * @returns {Failure}
 */
export function failureOf(status, body, retryAfter = null) {
  let error = {};
  try {
    error = JSON.parse(body).error ?? {};
  } catch {
    // not the service's own words
  }
  return {
    status,
    code: error.code ?? "http_error",
    message: error.message ?? `The answer was ${status}.`,
    param: error.param ?? null,
    retryAfter: retryAfter === null || Number.isNaN(Number(retryAfter)) ? null : Number(retryAfter),
  };
}

/** The status that an error event stands for, which has none of its own. @param {string} type */
export function statusOfType(type) {
  return { rate_limit_error: 429, service_unavailable_error: 503, server_error: 500 }[type] ?? 400;
}
