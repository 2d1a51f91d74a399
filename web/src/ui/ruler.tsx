import { useMemo } from "react";
import { cx } from "@/lib/cx";

/** Where on the ruler, 0-1, a port stands: half for 0-1023, a third for the registered, the rest for the ephemeral. */
export function rulerPosition(port: number): number {
  if (port < 1024) return (port / 1024) * 0.5;
  if (port < 10000) return 0.5 + ((port - 1024) / 8976) * 0.3;
  return 0.8 + ((port - 10000) / 55536) * 0.2;
}

const MARKS = [
  { port: 0, label: "1" },
  { port: 128, label: "128" },
  { port: 256, label: "256" },
  { port: 512, label: "512" },
  { port: 1024, label: "1024" },
  { port: 4096, label: "4096" },
  { port: 10000, label: "10 000" },
  { port: 32768, label: "32 768" },
];

interface Tick {
  port: number;
  kind?: "open" | "added" | "removed";
}

const W = 1000;
const H = 34;

const strokes = {
  open: "stroke-sea",
  added: "stroke-mark",
  removed: "stroke-ink-3",
};

/**
 * All 65 535 ports on one ruler, with more room for the low ones, and a tick at each that is open: a host's or
 * network's profile at a glance. What is new stands out in the marking colour and taller.
 */
export function PortRuler({
  ticks,
  label,
  className,
}: {
  ticks: readonly Tick[];
  label: string;
  className?: string;
}) {
  const unique = useMemo(() => {
    const byPort = new Map<number, Tick>();
    for (const tick of ticks) {
      const known = byPort.get(tick.port);
      if (!known || known.kind === "open") byPort.set(tick.port, tick);
    }
    return [...byPort.values()];
  }, [ticks]);
  return (
    <div className={cx("select-none", className)}>
      <svg
        viewBox={`0 0 ${W} ${H}`}
        preserveAspectRatio="none"
        className="block h-9 w-full"
        role="img"
        aria-label={label}
      >
        <line
          x1="0"
          y1={H - 1}
          x2={W}
          y2={H - 1}
          className="stroke-line-strong"
          strokeWidth="1.5"
          vectorEffect="non-scaling-stroke"
        />
        {MARKS.map((mark) => (
          <line
            key={mark.port}
            x1={rulerPosition(mark.port) * W}
            x2={rulerPosition(mark.port) * W}
            y1={H - 6}
            y2={H}
            className="stroke-line-strong"
            vectorEffect="non-scaling-stroke"
          />
        ))}
        {unique.map((tick) => (
          <line
            key={tick.port}
            x1={rulerPosition(tick.port) * W}
            x2={rulerPosition(tick.port) * W}
            y1={tick.kind === "added" ? 1 : 9}
            y2={H - 3}
            strokeWidth={tick.kind === "added" ? 2.5 : 2}
            strokeDasharray={tick.kind === "removed" ? "2 2" : undefined}
            className={strokes[tick.kind ?? "open"]}
            vectorEffect="non-scaling-stroke"
          />
        ))}
      </svg>
      <div className="relative mt-0.5 h-4 text-ink-3" aria-hidden>
        {MARKS.map((mark) => (
          <span
            key={mark.port}
            className={cx(
              "figures absolute text-xs leading-4",
              mark.port === 0 ? "left-0" : "-translate-x-1/2",
              (mark.port === 128 || mark.port === 32768) && "max-sm:hidden",
            )}
            style={mark.port === 0 ? undefined : { left: `${rulerPosition(mark.port) * 100}%` }}
          >
            {mark.label}
          </span>
        ))}
      </div>
    </div>
  );
}
