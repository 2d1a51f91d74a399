import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link, useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { meQuery, setupQuery } from "@/api/queries";
import { Gate } from "@/shell/gate";
import { Button, buttonLook } from "@/ui/button";
import { Field, Input } from "@/ui/field";
import { Skeleton } from "@/ui/states";

const route = getRouteApi("/setup");

/** The token of a set-up link: in the fragment, so that it reaches no log, or as a parameter. */
export function tokenOf(hash: string, search: string | undefined): string {
  return new URLSearchParams(hash.replace(/^#/, "")).get("token") ?? search ?? "";
}

export function SetupPage() {
  const search = route.useSearch();
  const [token] = useState(() => tokenOf(window.location.hash, search.token));
  const state = useQuery(setupQuery);
  useEffect(() => {
    document.title = "Set up · Portreeve";
    // The token is used once; it has no business in the history.
    if (token) window.history.replaceState(window.history.state, "", "/setup");
  }, [token]);

  if (state.data && !state.data.required) {
    return (
      <Gate
        title="Already set up"
        lead="There is an administrator. Sign in with their account, or ask them for one."
      >
        <Link to="/login" className={buttonLook("primary")}>
          Sign in
        </Link>
      </Gate>
    );
  }
  if (state.isPending) {
    return (
      <Gate title="Set up Portreeve">
        <Skeleton />
      </Gate>
    );
  }
  return token === "" ? <NoToken /> : <SetupForm token={token} />;
}

function NoToken() {
  return (
    <Gate
      title="Set up Portreeve"
      lead={
        <>
          Open the one-time link that the server printed when it started. It looks like{" "}
          <code className="figures foreign">/setup#token=…</code> and proves that you are the one who runs the
          server.
        </>
      }
    >
      <p className="text-sm text-ink-3">
        The link is valid for a short time. Restart the server to get a new one, or run{" "}
        <code className="figures">portreeve-server user create</code> on its machine.
      </p>
    </Gate>
  );
}

function SetupForm({ token }: { token: string }) {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const differs = again !== "" && again !== password;

  const setup = useMutation({
    mutationFn: async () => {
      await call(client.POST("/api/setup", { body: { token, email, password } }));
      queries.clear();
      if (!(await queries.fetchQuery(meQuery))) {
        await call(client.POST("/api/auth/login", { body: { email, password } }));
        queries.clear();
      }
    },
    onSuccess: () => navigate({ to: "/" }),
  });

  return (
    <Gate
      title="Set up Portreeve"
      lead="Make the first account. It may do everything; others can be added later."
    >
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          if (!differs) setup.mutate();
        }}
      >
        <Field label="E-mail" required error={fieldError(setup.error, "email")}>
          <Input
            type="email"
            name="email"
            autoComplete="username"
            value={email}
            onChange={(event) => setEmail(event.target.value)}
          />
        </Field>
        <Field
          label="Password"
          required
          hint="At least 12 characters. A few words in a row are fine."
          error={fieldError(setup.error, "password")}
        >
          <Input
            type="password"
            name="password"
            autoComplete="new-password"
            minLength={12}
            value={password}
            onChange={(event) => setPassword(event.target.value)}
          />
        </Field>
        <Field label="Password again" required error={differs ? "The two passwords differ." : undefined}>
          <Input
            type="password"
            name="again"
            autoComplete="new-password"
            value={again}
            onChange={(event) => setAgain(event.target.value)}
          />
        </Field>
        {setup.error && (
          <p role="alert" className="text-critical foreign">
            {errorText(setup.error)}
          </p>
        )}
        <Button kind="primary" type="submit" busy={setup.isPending}>
          Make the account
        </Button>
      </form>
    </Gate>
  );
}
