import { expect, it } from "vitest";
import { ApiError, apiError, errorText, fieldError } from "./error";

it("shows a sentence as it is", () => {
  expect(errorText(apiError(400, { detail: "A network with this name already exists" }))).toBe(
    "A network with this name already exists",
  );
});

it("puts the mistakes of a 422 to their fields", () => {
  const error = apiError(422, {
    detail: [
      { type: "value_error", loc: ["body", "cidr"], msg: "Value error, Invalid CIDR format: 300.0.0.0/8" },
      { type: "missing", loc: ["body", "name"], msg: "Field required" },
      { type: "value_error", loc: ["body", "rules", 2, "port"], msg: "Value error, out of range" },
    ],
  });
  expect(fieldError(error, "cidr")).toBe("Invalid CIDR format: 300.0.0.0/8");
  expect(fieldError(error, "name")).toBe("Field required");
  expect(fieldError(error, "port_spec")).toBeUndefined();
  expect(error.message).toContain("rules.2.port: out of range");
});

it("has a sentence for bodies that say nothing", () => {
  expect(apiError(503, "<html>").message).toContain("status 503");
  expect(apiError(429, undefined).message).toContain("Too many tries");
  expect(apiError(422, { detail: [] }).message).toContain("422");
  expect(apiError(422, { detail: [null, 3, "x"] })).toBeInstanceOf(ApiError);
});

it("tells a server that is away from a bug", () => {
  expect(errorText(new TypeError("Failed to fetch"))).toContain("did not answer");
  expect(errorText(new Error("odd"))).toBe("odd");
});
