import { CircleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { errorText } from "@/api/error";
import { cx } from "@/lib/cx";
import { Button } from "./button";

/** Grey bars where content will be. */
export function Skeleton({ rows = 3, className }: { rows?: number; className?: string }) {
  const widths = ["w-3/4", "w-11/12", "w-2/3", "w-5/6"];
  return (
    <div className={cx("flex flex-col gap-2.5 py-2", className)} role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, index) => (
        <div key={index} className={cx("shimmer h-4", widths[index % widths.length])} />
      ))}
    </div>
  );
}

/** Nothing here, and what to do about it. */
export function Empty({
  title,
  children,
  action,
}: {
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="flex flex-col items-start gap-2 px-4 py-8 sm:items-center sm:text-center">
      <svg viewBox="0 0 120 24" className="mb-1 h-6 w-30 text-line-strong" aria-hidden>
        <path
          d="M2 12h116M10 6v12M22 9v6M34 6v12M46 9v6M58 6v12M70 9v6M82 6v12M94 9v6M106 6v12"
          stroke="currentColor"
          strokeWidth="1.5"
          fill="none"
        />
      </svg>
      <p className="text-base font-semibold">{title}</p>
      {children && <div className="max-w-prose text-ink-2">{children}</div>}
      {action && <div className="mt-2 flex flex-wrap gap-2">{action}</div>}
    </div>
  );
}

/** What failed, in the server's words, and a way to try again. */
export function Failure({ error, retry, what }: { error: unknown; retry?: () => void; what: string }) {
  return (
    <div
      role="alert"
      className="flex items-start gap-2.5 border-l-2 border-critical bg-critical-wash px-3 py-2.5"
    >
      <CircleAlert className="mt-0.5 size-4 shrink-0 text-critical" aria-hidden />
      <div className="min-w-0">
        <p className="font-semibold">{what}</p>
        <p className="foreign text-ink-2">{errorText(error)}</p>
        {retry && (
          <Button small className="mt-2" onClick={retry}>
            Try again
          </Button>
        )}
      </div>
    </div>
  );
}

interface QueryLike<T> {
  data: T | undefined;
  error: unknown;
  isPending: boolean;
  refetch: () => unknown;
}

/** Shows a query: bars while it loads, the failure if it failed, else the content. */
export function Loaded<T>({
  query,
  what,
  rows,
  children,
}: {
  query: QueryLike<T>;
  what: string;
  rows?: number;
  children: (data: T) => ReactNode;
}) {
  if (query.data !== undefined) return children(query.data);
  if (query.error)
    return <Failure error={query.error} what={`${what} could not be loaded.`} retry={query.refetch} />;
  return <Skeleton rows={rows} />;
}
