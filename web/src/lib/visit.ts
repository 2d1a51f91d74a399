const LAST = "portreeve-last-visit";
const CURRENT = "portreeve-this-visit";

/** When this browser showed the dashboard before the present visit; a visit is one tab's life. */
export function lastVisit(now = new Date()): Date | null {
  let before = sessionStorage.getItem(CURRENT);
  if (before === null) {
    before = localStorage.getItem(LAST) ?? "";
    sessionStorage.setItem(CURRENT, before);
  }
  localStorage.setItem(LAST, now.toISOString());
  return before === "" ? null : new Date(before);
}
