import { expect, test } from "vitest";
import { enrolmentCommand, isClearText } from "./enrol";

const at = (url: string) => isClearText(new URL(url));

test("tells clear text to another machine from what stays on this one", () => {
  expect(at("http://ports.example.org")).toBe(true);
  expect(at("http://10.0.0.1:8080")).toBe(true);
  expect(at("http://127.example.org")).toBe(true);
  expect(at("https://ports.example.org")).toBe(false);
  expect(at("http://127.0.0.1:8080")).toBe(false);
  expect(at("http://localhost:8080")).toBe(false);
  expect(at("http://[::1]:8080")).toBe(false);
});

test("has the agent accept clear text only where it must", () => {
  expect(enrolmentCommand("https://p.example", "t", false)).not.toContain("--insecure-http");
  expect(enrolmentCommand("http://p.example", "t", true)).toMatch(/ --insecure-http$/);
});
