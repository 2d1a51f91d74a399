import { useMutation, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useRouter } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { call, client } from "@/api/client";
import { errorText, fieldError } from "@/api/error";
import { meQuery } from "@/api/queries";
import { isTheme, setTheme } from "@/lib/theme";
import { Gate } from "@/shell/gate";
import { Button } from "@/ui/button";
import { Field, Input } from "@/ui/field";

const route = getRouteApi("/login");

export function LoginPage() {
  const { next } = route.useSearch();
  const queries = useQueryClient();
  const router = useRouter();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  useEffect(() => {
    document.title = "Sign in · Portreeve";
  }, []);

  const login = useMutation({
    mutationFn: () => call(client.POST("/api/auth/login", { body: { email, password } })),
    onSuccess: async () => {
      queries.clear();
      const me = await queries.fetchQuery(meQuery);
      if (me && me.theme_preference !== "system" && isTheme(me.theme_preference)) {
        setTheme(me.theme_preference);
      }
      // Only ever to a path of ours, never to another site.
      router.history.push(next?.startsWith("/") && !next.startsWith("//") ? next : "/");
    },
  });

  return (
    <Gate title="Sign in">
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          login.mutate();
        }}
      >
        <Field label="E-mail" required error={fieldError(login.error, "email")}>
          <Input
            type="email"
            name="email"
            autoComplete="username"
            value={email}
            onChange={(event) => setEmail(event.target.value)}
          />
        </Field>
        <Field label="Password" required error={fieldError(login.error, "password")}>
          <Input
            type="password"
            name="password"
            autoComplete="current-password"
            value={password}
            onChange={(event) => setPassword(event.target.value)}
          />
        </Field>
        {login.error && (
          <p role="alert" className="text-critical foreign">
            {errorText(login.error)}
          </p>
        )}
        <Button kind="primary" type="submit" busy={login.isPending}>
          Sign in
        </Button>
      </form>
    </Gate>
  );
}
