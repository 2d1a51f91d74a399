import { cx } from "@/lib/cx";

/** How far something is, 0-100; without a figure, that it goes on. */
export function Progress({
  value,
  label,
  className,
}: {
  value: number | null | undefined;
  label: string;
  className?: string;
}) {
  const known = value != null;
  return (
    <div
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={known ? Math.round(value) : undefined}
      className={cx("h-1.5 overflow-hidden rounded-full bg-well", className)}
    >
      <div
        className={cx(
          "h-full rounded-full bg-mark transition-[width] duration-300",
          !known && "pulse-mark w-full opacity-40",
        )}
        style={known ? { width: `${Math.min(100, Math.max(1, value))}%` } : undefined}
      />
    </div>
  );
}
