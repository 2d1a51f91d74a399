import { cx } from "@/lib/cx";

const mac = typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.userAgent);

/** Keyboard keys: `mod+k`, `g d`. */
export function Keys({ keys, inverse }: { keys: string; inverse?: boolean }) {
  const parts = keys.split(/[ +]/).map((key) => (key === "mod" ? (mac ? "⌘" : "Ctrl") : key));
  return (
    <span className="inline-flex gap-0.5">
      {parts.map((part, index) => (
        <kbd
          key={`${part}-${index}`}
          className={cx(
            "figures min-w-5 rounded-sm border px-1 text-center text-xs leading-4.5",
            inverse ? "border-paper/40" : "border-line-strong/60 bg-raised text-ink-2",
          )}
        >
          {part}
        </kbd>
      ))}
    </span>
  );
}
