import { expect, it } from "vitest";
import { pagesFor } from "./windowed";

it("loads the pages that are on screen, and no others", () => {
  expect(pagesFor(0, 40, 100)).toEqual([0]);
  expect(pagesFor(90, 130, 100)).toEqual([0, 1]);
  expect(pagesFor(999_990, 999_999, 100)).toEqual([9999]);
  expect(pagesFor(-5, -1, 100)).toEqual([0]);
});
