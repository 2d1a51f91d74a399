import { X } from "lucide-react";
import { type ReactNode, useSyncExternalStore } from "react";
import { cx } from "@/lib/cx";
import { Button, IconButton } from "./button";

interface Toast {
  id: number;
  text: ReactNode;
  tone: "plain" | "bad";
  undo: (() => void) | undefined;
}

let toasts: readonly Toast[] = [];
let nextId = 1;
const listeners = new Set<() => void>();

function set(next: readonly Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

function dismiss(id: number): void {
  set(toasts.filter((entry) => entry.id !== id));
}

/** Says that something happened; with `undo`, offers to take it back. */
export function toast(text: ReactNode, options: { tone?: "plain" | "bad"; undo?: () => void } = {}): void {
  const id = nextId++;
  set([...toasts.slice(-3), { id, text, tone: options.tone ?? "plain", undo: options.undo }]);
  setTimeout(() => dismiss(id), options.undo || options.tone === "bad" ? 9000 : 5000);
}

/** The place where toasts appear; one per page. */
export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <section
      aria-label="Notices"
      aria-live="polite"
      className="pointer-events-none fixed inset-x-3 bottom-16 z-50 flex flex-col items-end gap-2 md:bottom-4"
    >
      {shown.map((entry) => (
        <div
          key={entry.id}
          className={cx(
            "pointer-events-auto flex max-w-md items-center gap-2 rounded-lg border bg-raised py-1.5 pr-1.5 pl-3",
            entry.tone === "bad" ? "border-critical" : "border-line-strong",
          )}
        >
          <div className={cx("min-w-0 foreign", entry.tone === "bad" && "text-critical")}>{entry.text}</div>
          {entry.undo && (
            <Button
              small
              onClick={() => {
                entry.undo?.();
                dismiss(entry.id);
              }}
            >
              Undo
            </Button>
          )}
          <IconButton small label="Dismiss" onClick={() => dismiss(entry.id)}>
            <X className="size-3.5" aria-hidden />
          </IconButton>
        </div>
      ))}
    </section>
  );
}
