import assert from "node:assert/strict";
import { test } from "node:test";
import { adviceFor, failureOf, statusOfType } from "../../../../serve_app/playground/static/scripts/logic/errors.js";
import { duration, progressText, shareDone } from "../../../../serve_app/playground/static/scripts/logic/words.js";

const body = (code, message = "Why.", param = null) => JSON.stringify({ error: { code, message, param, type: "" } });

test("a failure is read from the service's own words", () => {
  const failure = failureOf(429, body("rate_limit_exceeded"), "7");
  assert.deepEqual(failure, { status: 429, code: "rate_limit_exceeded", message: "Why.", param: null, retryAfter: 7 });
});

test("a failure is read from whatever a proxy says", () => {
  for (const text of ["<html>", "", "null", "[]", "{}"]) {
    assert.deepEqual(failureOf(502, text === "null" ? "{}" : text), {
      status: 502,
      code: "http_error",
      message: "The answer was 502.",
      param: null,
      retryAfter: null,
    });
  }
  assert.equal(failureOf(503, "", "Wed, 21 Oct 2026 07:28:00 GMT").retryAfter, null);
});

test("what to do goes by what went wrong", () => {
  const action = (...failure) => adviceFor(failureOf(...failure)).action;
  assert.equal(action(401, body("invalid_api_key")), "key");
  assert.equal(action(429, body("rate_limit_exceeded"), "7"), "retry");
  assert.equal(action(503, body("model_loading"), "30"), "retry");
  assert.equal(action(400, body("invalid_value", "Invalid 'size'.", "size")), "fix");
  assert.equal(action(403, body("priority_not_allowed")), "none");
  assert.equal(adviceFor(failureOf(503, body("x"), "30")).wait, 30);
});

test("what the service says stands where there are no plainer words", () => {
  assert.equal(adviceFor(failureOf(400, body("invalid_value", "Invalid 'size'."))).text, "Invalid 'size'.");
  assert.notEqual(adviceFor(failureOf(400, body("no_pose_found", "Technical."))).text, "Technical.");
  assert.equal(adviceFor(failureOf(401, body("invalid_api_key"))).title, "A key is needed");
});

test("an error event has the status of its type", () => {
  assert.deepEqual(["service_unavailable_error", "server_error", "other"].map(statusOfType), [503, 500, 400]);
});

test("progress in words", () => {
  const progress = { picture: 0, waiting: true, ahead: 3, step: 0, steps: 0, secondsLeft: 12 };
  assert.equal(progressText(progress), "Waiting behind 3 · about 12 s");
  assert.equal(progressText({ ...progress, ahead: 0, secondsLeft: null }), "Waiting");
  assert.equal(
    progressText({ ...progress, waiting: false, step: 3, steps: 8, secondsLeft: 2.13 }),
    "Step 3 of 8 · about 2.1 s",
  );
  assert.equal(shareDone({ ...progress, step: 2, steps: 8 }), 0.25);
  assert.equal(shareDone(null), 0);
  assert.deepEqual([0.04, 9.96, 99.6, 150].map(duration), ["0 s", "10 s", "100 s", "3 min"]);
});
