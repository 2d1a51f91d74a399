/** What the server said when it refused. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    message: string,
    /** Messages by form field, from a 422. */
    readonly fields: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

interface ValidationItem {
  loc?: unknown;
  msg?: unknown;
}

/** Reads an error body: `detail` is a sentence, or a list of `{type, loc, msg}` for a 422. */
export function apiError(status: number, body: unknown): ApiError {
  const detail = isRecord(body) ? body.detail : undefined;
  if (typeof detail === "string") return new ApiError(status, detail);
  if (Array.isArray(detail)) return validationError(status, detail);
  const title = isRecord(body) && typeof body.title === "string" ? body.title : undefined;
  return new ApiError(status, title ?? fallback(status));
}

function validationError(status: number, items: unknown[]): ApiError {
  const fields: Record<string, string> = {};
  const lines: string[] = [];
  for (const item of items.filter(isRecord) as ValidationItem[]) {
    const place = Array.isArray(item.loc) ? item.loc.slice(1).map(String) : [];
    const message = String(item.msg ?? "is not valid").replace(/^Value error, /, "");
    const field = place[0];
    if (field !== undefined) fields[field] ??= message;
    lines.push(place.length > 0 ? `${place.join(".")}: ${message}` : message);
  }
  return new ApiError(status, lines.join(", ") || fallback(status), fields);
}

function fallback(status: number): string {
  if (status === 403) return "Your role does not allow this.";
  if (status === 404) return "There is nothing here (any more).";
  if (status === 429) return "Too many tries. Wait a minute, then try again.";
  if (status >= 500) return `The server had a problem (status ${status}). Its log says more.`;
  return `The server answered with status ${status}.`;
}

/** A sentence for whatever was thrown. */
export function errorText(error: unknown): string {
  if (error instanceof ApiError) return error.message;
  if (error instanceof TypeError) return "The server did not answer. Is it running?";
  return error instanceof Error ? error.message : String(error);
}

/** The message for one form field, if the server had one. */
export function fieldError(error: unknown, field: string): string | undefined {
  return error instanceof ApiError ? error.fields[field] : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
