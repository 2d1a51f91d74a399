import "./app.css";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api/error";
import { meQuery } from "./api/queries";
import { applyTheme } from "./lib/theme";
import { makeRouter } from "./router";
import { TipProvider } from "./ui/tip";

applyTheme();

/** A session that ended sends to the sign-in page, and back afterwards. */
function onError(error: unknown): void {
  if (!(error instanceof ApiError) || error.status !== 401) return;
  if (queries.getQueryData(meQuery.queryKey) == null) return;
  queries.setQueryData(meQuery.queryKey, null);
  void router.invalidate();
}

const queries: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      retry: (failures, error) =>
        failures < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
    },
  },
});
const router = makeRouter(queries);

const place = document.getElementById("root");
if (place) {
  createRoot(place).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <TipProvider delayDuration={350}>
          <RouterProvider router={router} />
        </TipProvider>
      </QueryClientProvider>
    </StrictMode>,
  );
}
