import { keepPreviousData, useQueries } from "@tanstack/react-query";
import { useCallback, useState } from "react";

export interface Page<T> {
  rows: T[];
  total: number;
}

export interface Windowed<T> {
  /** Rows in all, known once the first page is there. */
  total: number | undefined;
  row: (index: number) => T | undefined;
  /** Says which rows are on screen, so that their pages are loaded. */
  show: (first: number, last: number) => void;
  error: unknown;
  isFetching: boolean;
  retry: () => void;
}

/** The pages that hold the rows from `first` to `last`. */
export function pagesFor(first: number, last: number, size: number): number[] {
  const from = Math.floor(Math.max(0, first) / size);
  const to = Math.floor(Math.max(0, first, last) / size);
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

/** A long list of which only the pages on screen are loaded. */
export function useWindowed<T>(
  key: readonly unknown[],
  load: (offset: number, limit: number) => Promise<Page<T>>,
  size = 100,
): Windowed<T> {
  const [pages, setPages] = useState<number[]>([0]);
  const identity = JSON.stringify(key);
  const [shownFor, setShownFor] = useState(identity);
  if (shownFor !== identity) {
    setShownFor(identity);
    setPages([0]);
  }
  const queries = useQueries({
    queries: pages.map((page) => ({
      queryKey: [...key, { page, size }],
      queryFn: () => load(page * size, size),
      placeholderData: keepPreviousData,
      staleTime: 10_000,
    })),
  });
  const show = useCallback(
    (first: number, last: number) => {
      const next = pagesFor(first, last, size);
      setPages((known) => (known.join() === next.join() ? known : next));
    },
    [size],
  );
  return {
    total: queries.find((query) => query.data)?.data?.total,
    row: (index) => {
      const at = pages.indexOf(Math.floor(index / size));
      return queries[at]?.data?.rows[index % size];
    },
    show,
    error: queries.find((query) => query.error)?.error,
    isFetching: queries.some((query) => query.isFetching),
    retry: () => {
      for (const query of queries) void query.refetch();
    },
  };
}
