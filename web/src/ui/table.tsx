import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { type ReactNode, useEffect, useRef } from "react";
import { cx } from "@/lib/cx";
import type { Windowed } from "@/lib/windowed";
import { Failure, Skeleton } from "./states";

export interface Column<T> {
  id: string;
  head: ReactNode;
  cell: (row: T) => ReactNode;
  /** Width as a grid track: `8rem`, `minmax(8rem,1fr)`. */
  width?: string;
  /** Names the order by this column, where the server can do that. */
  sort?: string;
  right?: boolean;
  /** Not shown below this width of the page. */
  from?: "sm" | "md" | "lg" | "xl";
}

const from = {
  sm: "max-sm:hidden",
  md: "max-md:hidden",
  lg: "max-lg:hidden",
  xl: "max-xl:hidden",
};

interface Sorting {
  by: string | undefined;
  dir: "asc" | "desc" | undefined;
  onSort: (by: string, dir: "asc" | "desc") => void;
}

function HeadCell<T>({ column, sorting }: { column: Column<T>; sorting: Sorting | undefined }) {
  const active = column.sort !== undefined && sorting?.by === column.sort;
  const look = cx(
    "label px-2 py-1.5 text-left font-normal first:pl-4 last:pr-4",
    column.right && "text-right",
    column.from && from[column.from],
  );
  const width = column.width ? { width: column.width } : undefined;
  if (column.sort === undefined || !sorting) {
    return (
      <th scope="col" className={look} style={width}>
        {column.head}
      </th>
    );
  }
  const sort = column.sort;
  return (
    <th
      scope="col"
      aria-sort={active ? (sorting.dir === "desc" ? "descending" : "ascending") : "none"}
      className={look}
      style={width}
    >
      <button
        type="button"
        className={cx("inline-flex items-center gap-1 hover:text-ink", active && "font-semibold text-ink")}
        onClick={() => sorting.onSort(sort, active && sorting.dir !== "desc" ? "desc" : "asc")}
      >
        {column.head}
        {active &&
          (sorting.dir === "desc" ? (
            <ArrowDown className="size-3" aria-hidden />
          ) : (
            <ArrowUp className="size-3" aria-hidden />
          ))}
      </button>
    </th>
  );
}

interface TableProps<T> {
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string | number;
  rowClass?: (row: T) => string | undefined;
  sorting?: Sorting;
}

/** A table of what is all there. */
export function Table<T>({ caption, columns, rows, rowKey, rowClass, sorting }: TableProps<T>) {
  return (
    <div className="relative overflow-x-auto">
      <table className="w-full border-collapse">
        <caption className="sr-only">{caption}</caption>
        <thead>
          <tr className="border-b border-line">
            {columns.map((column) => (
              <HeadCell key={column.id} column={column} sorting={sorting} />
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr
              key={rowKey(row)}
              className={cx("border-b border-line/70 last:border-0 hover:bg-water-2", rowClass?.(row))}
            >
              {columns.map((column) => (
                <td
                  key={column.id}
                  className={cx(
                    "px-2 py-1.5 align-top first:pl-4 last:pr-4",
                    column.right && "text-right",
                    column.from && from[column.from],
                  )}
                >
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const ROW = 34;

interface LongTableProps<T> {
  caption: string;
  columns: readonly Column<T>[];
  list: Windowed<T>;
  rowKey: (row: T) => string | number;
  sorting?: Sorting;
  empty: ReactNode;
  what: string;
  onRow?: (row: T) => void;
}

/**
 * A table of any length: only the rows on screen exist, only their pages are loaded. It is a real table for
 * assistive technology, with the true number of rows.
 */
export function LongTable<T>({ caption, columns, list, rowKey, sorting, empty, what }: LongTableProps<T>) {
  const scroller = useRef<HTMLDivElement>(null);
  const total = list.total ?? 0;
  const rows = useVirtualizer({
    count: total,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 12,
  });
  const items = rows.getVirtualItems();
  const first = items[0]?.index ?? 0;
  const last = items.at(-1)?.index ?? 0;
  const { show } = list;
  useEffect(() => show(first, last), [show, first, last]);

  if (list.error && list.total === undefined) {
    return (
      <div className="p-3">
        <Failure error={list.error} what={`${what} could not be loaded.`} retry={list.retry} />
      </div>
    );
  }
  if (list.total === undefined) return <Skeleton rows={8} className="px-3" />;
  if (total === 0) return empty;
  const before = items[0]?.start ?? 0;
  const after = rows.getTotalSize() - (items.at(-1)?.end ?? 0);
  return (
    <section
      ref={scroller}
      aria-label={caption}
      tabIndex={0}
      className="relative max-h-[calc(100dvh-13.5rem)] min-h-64 overflow-auto focus-visible:-outline-offset-2"
    >
      <table className="w-full table-fixed border-collapse" aria-rowcount={total + 1}>
        <caption className="sr-only">{caption}</caption>
        <thead className="sticky top-0 z-10 bg-panel shadow-[0_1px_0_var(--line)]">
          <tr>
            {columns.map((column) => (
              <HeadCell key={column.id} column={column} sorting={sorting} />
            ))}
          </tr>
        </thead>
        <tbody>
          {before > 0 && <Gap height={before} />}
          {items.map((item) => {
            const row = list.row(item.index);
            return (
              <tr
                key={row === undefined ? `gap-${item.index}` : rowKey(row)}
                aria-rowindex={item.index + 2}
                className="h-[34px] border-b border-line/70 hover:bg-water-2"
              >
                {columns.map((column) => (
                  <td
                    key={column.id}
                    className={cx(
                      "truncate px-2 first:pl-4 last:pr-4",
                      column.right && "text-right",
                      column.from && from[column.from],
                    )}
                  >
                    {row === undefined ? <div className="shimmer h-3 w-2/3" /> : column.cell(row)}
                  </td>
                ))}
              </tr>
            );
          })}
          {after > 0 && <Gap height={after} />}
        </tbody>
      </table>
    </section>
  );
}

// No colSpan: columns that a small screen hides would come back as empty ones.
function Gap({ height }: { height: number }) {
  return (
    <tr aria-hidden>
      <td style={{ height, padding: 0 }} />
    </tr>
  );
}
