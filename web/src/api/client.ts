import createClient from "openapi-fetch";
import { apiError } from "./error";
import type { paths } from "./schema";

/** The one client; paths, parameters and bodies are checked against the server's own description. */
export const client = createClient<paths>({ baseUrl: "", credentials: "same-origin" });

interface Answer<T> {
  data?: T | undefined;
  error?: unknown;
  response: Response;
}

/** The body of a successful answer; anything else is thrown as an `ApiError`. */
export async function call<T>(answer: Promise<Answer<T>>): Promise<NonNullable<T>> {
  const { data, error, response } = await answer;
  if (!response.ok) throw apiError(response.status, error);
  return data as NonNullable<T>;
}
